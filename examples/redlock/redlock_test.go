package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

const (
	held = `held: never two holders, and none of [1-9]\d* numbers was given twice`
	two  = `broken, as documented: two holders for [\d.]+ m?s`
)

// requireAct plays one act, on a machine that does much else.
func requireAct(t *testing.T, args []string, patterns ...string) {
	t.Helper()
	t.Parallel()
	redistest.New(t, 0) // skips
	programtest.RequireInOrder(t, programtest.Play(t, nil, append([]string{"-acts"}, args...)...), patterns...)
}

func TestTheLockIsHandedAround(t *testing.T) {
	requireAct(t, []string{"hand-over", "-ttl", "4s"}, `TTL 4s, 5 processes of redis-server\n`, `Three processes`,
		`5 of 5 servers up: \d+ hand-overs, p50 [\d.]+ ms, max [\d.]+ m?s\n`, held, `outcome\nhand-over +held\n$`)
}

func TestWithoutRedisServerServersRunInTheShow(t *testing.T) {
	t.Parallel()
	programtest.RequireInOrder(t, programtest.Play(t, []string{"PATH="}, "-acts", "hand-over", "-ttl", "4s"),
		`TTL 4s, 5 servers of miniredis: there is no redis-server, so no act hang\n`, `Three processes`, held)
}

func TestServersThatAreKilledDoNoHarmToAMajority(t *testing.T) {
	requireAct(t, []string{"kill", "-ttl", "4s"}, `server 5 is killed`, `4 of 5 servers up: \d+ hand-overs`, `server 4 is killed`, `3 of 5 servers up`,
		`server 3 is killed: no majority is left`, `w4 is told at its deadline: redlock: lost`, `nobody was granted the lock meanwhile`,
		`w\d has the lock, [\d.]+ m?s later`, held)
}

func TestServersThatHangDoNoHarmToAMajority(t *testing.T) {
	requireAct(t, []string{"hang", "-servers", "3", "-ttl", "4s"}, `server 3 hangs \(SIGSTOP\)`, `2 of 3 servers up`,
		`server 2 hangs \(SIGSTOP\): no majority`, `w4 is told at its deadline`, `nobody was granted the lock meanwhile`, held)
}

func TestAServerThatForgotLetsASecondHolderInUnlessItHasNoVote(t *testing.T) {
	requireAct(t, []string{"restart,min-uptime", "-ttl", "10s"},
		`w1 has the lock, on servers 1, 2, 3`, `server 3 is restarted`, `w[23] is granted the lock`, two,
		`2/2  The same`, `w1 has the lock`, `server \d is restarted`, held, `\nrestart +broken, as documented\nmin-uptime +held\n$`)
}

func TestClocksThatJumpLetASecondHolderIn(t *testing.T) {
	requireAct(t, []string{"jump", "-ttl", "10s"}, `the clocks of 3 of 5 servers jump 10s ahead`, `w[23] is granted the lock`, `w1 `, two)
}

func TestAHolderThatWakesWritesTooLate(t *testing.T) {
	requireAct(t, []string{"pause", "-ttl", "4s"}, `w1 is paused \(SIGSTOP\)`, `w[23] has had the lock`, `w1 goes on`, `nothing stops it`,
		`broken, as documented: a write came too late, and 1 of \d+ numbers\s+given\s+twice`)
}

func TestOneServerIsThePlainLock(t *testing.T) {
	requireAct(t, []string{"kill,jump", "-servers", "1", "-ttl", "10s"}, `server 1 is killed: no majority`, held,
		`the clocks of 1 of 1 servers`, two)
}

func TestInterruptLeavesNothingBehindWhileACopyIsPaused(t *testing.T) {
	t.Parallel()
	redistest.New(t, 0) // skips
	programtest.RequireInterruptible(t, "is paused (SIGSTOP)", "-acts", "pause", "-ttl", "20s")
}

func TestAllEndWhenTheShowIsKilled(t *testing.T) {
	t.Parallel()
	redistest.New(t, 0) // skips
	programtest.RequireOrphansEnd(t, "is paused (SIGSTOP)", "-acts", "pause", "-ttl", "20s")
}

func TestTheFailureOfWhatIsToHoldIsFound(t *testing.T) {
	t.Parallel()
	began := time.Now()
	at := func(s float64) time.Time { return began.Add(time.Duration(s * float64(time.Second))) }
	apart := []tenure{{"w2", at(2), at(3)}, {"w1", at(0), at(1.5)}, {"w1", at(3), at(4)}, {"w3", at(5), time.Time{}}}
	require.Equal(t, []time.Duration{500 * time.Millisecond, 0, time.Second}, handOvers(apart, at(-1)))
	require.Equal(t, []time.Duration{time.Second}, handOvers(apart, at(2)))
	both := []tenure{{"w1", at(0), at(3)}, {"w2", at(1), at(2)}, {"w3", at(1.5), at(2.5)}, {"w2", at(2.75), at(4)}}
	require.Equal(t, 1750*time.Millisecond, together(both))
	for want, v := range map[string]verdict{
		"held: never two holders, and none of 3 numbers was given twice":                              judge(false, apart, "1\n2\n3\n"),
		"BROKEN, and must not be: a write came too late, and 1 of 4 numbers given twice":              judge(false, apart, "1\n2\n3\n2\n"),
		"BROKEN, and must not be: two holders for 1.75 s":                                             judge(false, both, "1\n"),
		"broken, as documented: two holders for 1.75 s, and 2 of 5 numbers given twice":               judge(true, both, "1\n2\n3\n2\n3\n"),
		"held, though it was to break here: never two holders, and none of 0 numbers was given twice": judge(true, nil, ""),
	} {
		assert.Equal(t, want, v.String())
	}
}

func TestAHoldThatIsLostWritesNothing(t *testing.T) {
	t.Parallel()
	client := redistest.NewEmbedded(t, 1).Clients(t)
	nodes, err := redlock.NewNodes(client)
	require.NoError(t, err)
	mutex, err := redlock.NewMutex(nodes, "test")
	require.NoError(t, err)
	h, err := mutex.Lock(t.Context())
	require.NoError(t, err)
	to := &invoices{file: filepath.Join(t.TempDir(), "invoices")}
	require.NoError(t, to.write(t.Context(), h))
	require.NoError(t, to.write(t.Context(), h))
	require.NoError(t, nodes.Close(t.Context()))
	require.ErrorIs(t, to.write(t.Context(), h), redlock.ErrLost)
	to.work = time.Hour
	require.ErrorIs(t, to.write(h.Context(), h), redlock.ErrLost)
	text, err := os.ReadFile(to.file)
	require.NoError(t, err)
	require.Equal(t, "1\n2\n", string(text))
}

// The program by itself, on a server that others use, too.
func TestTheProgramWritesUntilItIsToldToEndAndLeavesNothing(t *testing.T) {
	t.Parallel()
	n := redistest.NewEmbedded(t, 1).Node(0)
	require.NoError(t, n.Admin().Set(t.Context(), "theirs", "1", 0).Err())
	file := filepath.Join(t.TempDir(), "invoices")
	r := programtest.Start(t, nil, "-nodes", n.Addr(), "-file", file, "-work", "1ms")
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.HasPrefix(string(text), "1\n2\n3\n")
	}, programtest.Hang, 10*time.Millisecond)
	require.NoError(t, r.Cmd.Process.Signal(os.Interrupt))
	_, code := r.Finish(t)
	require.Zero(t, code, r.Stderr.String())
	keys, err := n.Admin().Keys(context.Background(), "*").Result()
	require.NoError(t, err)
	require.Equal(t, []string{"theirs"}, keys)
}

func TestACopyOfTheProgramNeedsNothingElse(t *testing.T) {
	t.Parallel()
	programtest.RequireCopy(t, "redlockMain")
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: redlock ", map[string][]string{
		"unknown flag": {"-nope"},
		"argument":     {"now"},
		"two servers":  {"-servers", "2"},
		"no servers":   {"-servers", "0"},
		"unknown act":  {"-acts", "jump,nap"},
		"short TTL":    {"-ttl", "500ms"},
		"no TTL":       {"-ttl", "0s"},
	})
}
