//go:build linux

package main_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
)

// onRedis is the program with some Redis nodes.
func onRedis(t *testing.T, n int) (*program, *redistest.Cluster) {
	t.Helper()
	c := redistest.New(t, n)
	var addrs []string
	for _, node := range c.Nodes() {
		addrs = append(addrs, node.Addr())
	}
	return newProgram(t).via("127.0.0.1:1").with("CONCLAVE_REDIS_NODES=" + strings.Join(addrs, ",")), c
}

func TestALockOnRedisSaysOnceWhatItIsNot(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		p, _ := onRedis(t, n)
		o := p.run("redis", "lock", "cache", "--ttl", "300", "--", "sh", "-c",
			`conclave redis lock cache --wait 2s -- true 2>/dev/null; echo "$? $CONCLAVE_NAME ${CONCLAVE_TOKEN-no token} $CONCLAVE_TTL"; exit 3`)
		require.Equal(t, 3, o.code)
		require.Equal(t, "75 cache no token 300\n", o.stdout)
		require.Equal(t, 1, strings.Count(o.stderr, "no fencing token"), o.stderr)
		require.Zero(t, p.run("redis", "lock", "cache", "--wait", "30s", "--", "true").code, "it was given back")
	}
}

func TestALockOnRedisIsWaitedFor(t *testing.T) {
	t.Parallel()
	p, _ := onRedis(t, 1)
	holder := p.start("redis", "lock", "cache", "--owner", "ann")
	holder.says("cache")
	o := p.run("redis", "lock", "cache", "--wait", "1s", "--", "echo", "never")
	require.Equal(t, 75, o.code)
	require.Contains(t, o.stderr, `"cache": not obtained within --wait 1s`)
	next := p.start("redis", "lock", "cache", "--", "echo", "at last")
	require.NoError(t, holder.Process.Signal(syscall.SIGTERM))
	require.Zero(t, holder.ends())
	next.says("at last")
	require.Zero(t, next.ends())
}

func TestNodesThatDieDuringAWaitAreNobodyElse(t *testing.T) {
	t.Parallel()
	p, c := onRedis(t, 1)
	p.start("redis", "lock", "cache").says("cache")
	next := p.start("redis", "lock", "cache", "--wait", "12s", "--debug", "--", "echo", "never")
	require.Eventually(t, func() bool { // it has been told that somebody has it, and waits for the release
		n, err := c.Node(0).Admin().PubSubNumSub(t.Context(), "cache:released").Result()
		return err == nil && n["cache:released"] > 0
	}, hang, poll)
	c.Node(0).Kill(t)
	require.Equal(t, 69, next.ends(), next.stderr)
	require.Contains(t, next.stderr.String(), "not obtained within --wait 12s")
	require.Contains(t, next.stderr.String(), "no quorum")
}

func TestNodesThatAnswerLateAreWaitedFor(t *testing.T) {
	t.Parallel()
	p, c := onRedis(t, 3)
	for i := range 2 {
		c.Node(i).Kill(t)
	}
	k := p.start("redis", "lock", "cache", "--command-timeout", "1m", "--", "echo", "at last")
	k.stderr.await(t, "no quorum", k.done)
	for i := range 2 {
		c.Node(i).Restart(t)
	}
	k.says("at last")
	require.Zero(t, k.ends())
	for i := range 2 {
		c.Node(i).Kill(t)
	}
	require.Equal(t, 69, p.run("redis", "lock", "cache", "--try", "--", "echo", "never").code)
}

func TestAnUnknownUserOfRedisIsRefused(t *testing.T) {
	t.Parallel()
	p, c := onRedis(t, 3)
	addrs := make(map[string][]string)
	for _, node := range c.Nodes() {
		require.NoError(t, node.Admin().Do(t.Context(), "ACL", "SETUSER", "ann", "on", ">secret", "~*", "&*", "+ping", "+hello").Err())
		addrs["WRONGPASS"] = append(addrs["WRONGPASS"], "redis://ann:guess@"+node.Addr())
		addrs["NOPERM"] = append(addrs["NOPERM"], "redis://ann:secret@"+node.Addr())
	}
	for says, nodes := range addrs {
		for _, flag := range []string{"--try", "--wait=1m"} {
			var o outcome
			require.Eventually(t, func() bool { // a busy machine lets nodes answer too late
				o = p.run("redis", "lock", "cache", flag, "--nodes", strings.Join(nodes, ","), "--", "echo", "never")
				return o.code != 69
			}, hang, poll)
			require.Equal(t, 77, o.code, o.stderr)
			require.Contains(t, o.stderr, says)
			require.NotContains(t, o.stderr, "guess")
		}
	}
	mixed := append(addrs["WRONGPASS"][:1:1], "127.0.0.1:1", "127.0.0.1:2")
	require.Equal(t, 69, p.run("redis", "lock", "cache", "--try", "--nodes", strings.Join(mixed, ","), "--", "echo", "never").code)
}

func TestACommandUnderALockOnRedisEndsBeforeTheNextBegins(t *testing.T) {
	t.Parallel()
	p, _ := onRedis(t, 3)
	k := p.start("redis", "lock", "cache", "--ttl", shortTTL, "--", "sh", "-c", stubborn)
	k.says("ready")
	send(t, k.Process.Pid, syscall.SIGSTOP)
	t.Cleanup(func() { send(t, k.Process.Pid, syscall.SIGCONT) })
	require.Equal(t, "left: 0\n", p.run("redis", "lock", "cache", "--", "sh", "-c", count).stdout)
}

func TestACommandUnderALockOnRedisEndsWhenItsNodesHang(t *testing.T) {
	t.Parallel()
	p, c := onRedis(t, 3)
	k := p.start("redis", "lock", "cache", "--ttl", shortTTL, "--", "sh", "-c", stubborn)
	k.says("ready")
	for _, i := range []int{0, 1} {
		c.Node(i).Stop(t)
		t.Cleanup(func() { c.Node(i).Continue(t) })
	}
	require.Equal(t, 76, k.ends(), k.stderr)
	require.Equal(t, "left: 0\n", left(t, p.dir))
}

func TestThatNobodyReadsWhatIsSaidEndsNothing(t *testing.T) {
	t.Parallel()
	p, _ := onRedis(t, 1)
	read, write, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, read.Close())
	cmd := p.command("redis", "lock", "cache", "--", "true")
	cmd.Stderr = write
	require.Zero(t, exitCode(t, cmd.Run()))
	require.NoError(t, write.Close())
}

func TestWhatIsWrongWithALockOnRedisIsSaid(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{64, "no --nodes, and no CONCLAVE_REDIS_NODES", []string{"cache", "--", "true"}},
		{64, "0 names", []string{"--nodes", "127.0.0.1:1", "--", "true"}},
		{64, "must be one, or three or more", []string{"cache", "--nodes", "127.0.0.1:1,127.0.0.1:2", "--", "true"}},
		{69, "connection refused", []string{"cache", "--nodes", "127.0.0.1:1", "--command-timeout", "2s", "--", "true"}},
		{64, "--nodes: ", []string{"cache", "--nodes", "http://:secret@127.0.0.1:1", "--", "true"}},
	} {
		o := p.run(append([]string{"redis", "lock"}, c.args...)...)
		require.Equal(t, c.code, o.code, o.stderr)
		require.Contains(t, o.stderr, c.says)
		require.NotContains(t, o.stderr, "secret")
	}
}
