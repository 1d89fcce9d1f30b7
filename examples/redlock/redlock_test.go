package main

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/redistest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

// onBoth plays the program on processes, where there is the binary, and on embedded
// nodes, and requires of its output the patterns.
func onBoth(t *testing.T, args []string, patterns ...string) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		out := programtest.Play(t, []string{"PATH="}, args...)
		programtest.RequireInOrder(t, out, append([]string{`Redis nodes: \d, miniredis, as there is no redis-server\n`}, patterns...)...)
	})
	t.Run("redis-server", func(t *testing.T) {
		t.Parallel()
		redistest.New(t, 0) // skips
		out := programtest.Play(t, nil, args...)
		programtest.RequireInOrder(t, out, append([]string{`Redis nodes: \d, processes of redis-server\n`}, patterns...)...)
	})
}

const (
	held     = `held: never two holders, all [1-9]\d* updates are there\n`
	broken   = `BROKEN, as Redlock must: `
	together = broken + `two holders for [\d.]+ m?s`
)

func TestRunHandsTheLockAround(t *testing.T) {
	t.Parallel()
	onBoth(t, []string{"-run", "-duration", "1500ms"},
		`\d+ hand-overs, p50 [\d.]+ ms, max [\d.]+ ms`, held, `\nhand-over +[1-9]\d* .* held\n`)
}

func TestKilledNodesDoNoHarmToAMajority(t *testing.T) {
	t.Parallel()
	onBoth(t, []string{"-crash-node", "-ttl", "1s"},
		`node 5 is killed`, `4 of 5 nodes up: \d+ hand-overs`, `node 4 is killed`, `3 of 5 nodes up: \d+ hand-overs`,
		`node 3 is killed`, `w1 is told at its deadline: redlock: lost`, `nobody else was granted the lock meanwhile`,
		`w\d has the lock, [\d.]+ m?s later`, held)
}

func TestNodesThatHangCostTheNodeTimeout(t *testing.T) {
	t.Parallel()
	onBoth(t, []string{"-hang", "-nodes", "3"},
		`node 3 hangs`, `2 of 3 nodes up: \d+ hand-overs`, `node 2 hangs`,
		`w1's Extend fails after [\d.]+ m?s: the\s+node\s+timeout\s+is\s+200ms|w1 is told`,
		`nobody else was granted the lock meanwhile`, held)
}

func TestANodeThatForgotLetsASecondHolderInUnlessItHasNoVote(t *testing.T) {
	t.Parallel()
	onBoth(t, []string{"-restart-empty"},
		`w1 has the lock, on nodes 1, 2, 3\n`, `node 3 restarts, without its keys`, `w[23] is granted the lock`, `w1 is told`, together,
		`WithMinUptime`, `w1 has the lock, on nodes 1, 2, \d\n`, `node \d restarts, without its keys`, `w1 is told`, `w[23] is granted the lock`, held,
		`\nnode restarted empty .* BROKEN\nthe same, WithMinUptime .* held\n\nnode restarted empty:\n  `+broken)
}

func TestClocksThatJumpLetASecondHolderIn(t *testing.T) {
	t.Parallel()
	onBoth(t, []string{"-clock-jump"},
		`the clocks of 3 of 5 nodes jump 2s ahead`, `w[23] is granted the lock`, `w1 is told`, `too\s+many\s+nodes\s+do\s+not\s+have\s+its\s+key`, together)
}

func TestAHolderThatWakesWritesTooLate(t *testing.T) {
	t.Parallel()
	if !process.CanPause {
		t.Skip("no SIGSTOP here")
	}
	onBoth(t, []string{"-pause", "-ttl", "1s"},
		`w1 is stopped \(SIGSTOP\)`, `w[23] has the lock and has written`, `w1 wakes up`, `nothing stops it`,
		broken+`a write came too late, \d+ of \d+ updates lost`)
}

func TestOneNodeIsThePlainLock(t *testing.T) {
	t.Parallel()
	onBoth(t, []string{"-nodes", "1", "-crash-node", "-clock-jump"},
		`node 1 is killed`, `that leaves no majority`, `w1 is told at its deadline`, held, `the clocks of 1 of 1 nodes`, together)
}

func TestNamedNodesAreNeitherStoppedNorLeftWithALock(t *testing.T) {
	t.Parallel()
	c := redistest.NewEmbedded(t, 3)
	var named []string
	for _, n := range c.Nodes() {
		require.NoError(t, n.Admin().Set(t.Context(), "theirs", "1", 0).Err())
		named = append(named, n.Addr())
	}
	named[0] = "redis://" + named[0] + "/0"
	out := programtest.Play(t, nil, "-redis", strings.Join(named, ", "), "-prefix", "test/", "-crash-node", "-restart-empty", "-clock-jump")
	programtest.RequireInOrder(t, out,
		`Redis nodes: 3, at 127`, `node 3 is cut off from all workers`, `the\s+nodes\s+can\s+be\s+reached\s+again`, held,
		`node 2 loses its key`, together, `by\s+PEXPIRE`, together)
	assert.NotContains(t, out, "WithMinUptime")
	for _, n := range c.Nodes() {
		assert.Equal(t, "1", n.Admin().Get(t.Context(), "theirs").Val())
		for _, key := range n.Admin().Keys(t.Context(), "*").Val() {
			assert.True(t, key == "theirs" || n.Admin().TTL(t.Context(), key).Val() > 0, "%s is left for good", key)
			assert.Regexp(t, `^theirs$|:gone:`, key, "tombstones only")
		}
	}
}

// Somebody deletes the key all the time, which package redlock does not survive.
func TestTheProgramFailsWhenWhatIsToHoldBreaks(t *testing.T) {
	t.Parallel()
	n := redistest.NewEmbedded(t, 1).Node(0)
	r := programtest.Start(t, nil, "-redis", n.Addr(), "-run", "-duration", "4s", "-hold", "200ms")
	r.AwaitLine(t, "hand-overs")
	ctx, cancel := context.WithCancel(t.Context())
	var deleting sync.WaitGroup
	deleting.Go(func() {
		for ctx.Err() == nil {
			_ = n.Admin().FlushAll(ctx).Err() // fails at the end
		}
	})
	out, code := r.Finish(t)
	cancel()
	deleting.Wait()
	assert.Equal(t, 1, code)
	assert.Contains(t, out, "BROKEN, as Redlock must NOT: two holders")
	assert.Contains(t, r.Stderr.String(), "hand-over: BROKEN")
}

func TestNodesThatDoNotAnswerAreNamed(t *testing.T) {
	t.Parallel()
	n := redistest.NewEmbedded(t, 1).Node(0)
	n.Kill(t)
	r := programtest.Start(t, nil, "-redis", "redis://me:secret@"+n.Addr())
	_, code := r.Finish(t)
	assert.Equal(t, 1, code)
	assert.Contains(t, r.Stderr.String(), "no answer from Redis at "+n.Addr())
	assert.NotContains(t, r.Stderr.String(), "secret")
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: redlock ", map[string][]string{
		"unknown flag":     {"-nope"},
		"argument":         {"now"},
		"two nodes":        {"-nodes", "2"},
		"no nodes":         {"-nodes", "-1"},
		"four named nodes": {"-redis", "a:1,b:1,c:1,d:1"},
		"empty node":       {"-redis", "a:1,,c:1"},
		"bad URL":          {"-redis", "redis://a:b:c"},
		"nodes and redis":  {"-nodes", "3", "-redis", "a:1"},
		"workers":          {"-workers", "1"},
		"short TTL":        {"-ttl", "500ms"},
		"duration":         {"-duration", "-1s"},
	})
}

func TestHelpExplainsTheFlags(t *testing.T) {
	t.Parallel()
	out, code := programtest.Start(t, nil, "-h").Finish(t)
	assert.Zero(t, code)
	assert.Contains(t, out, "-restart-empty")
}
