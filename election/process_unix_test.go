//go:build unix

package election_test

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/proctest"
	"github.com/conclave-go/conclave/lease"
)

func startCandidate(t *testing.T, c *etcdtest.Cluster, name, value string) *proctest.Process {
	t.Helper()
	p := proctest.Start(t, "candidate", c.Endpoints()[0], name, value)
	p.Says(t, "elected")
	return p
}

// startService starts a service on an endpoint and returns it with its process ID, once it
// leads. Its lease outlasts any test.
func startService(t *testing.T, endpoint string, grace time.Duration) (p *proctest.Process, pid int) {
	t.Helper()
	p = proctest.Start(t, "service", endpoint, "e", grace.String())
	pid, err := strconv.Atoi(p.Says(t, ""))
	require.NoError(t, err)
	return p, pid
}

func TestAServiceThatIsTerminatedHandsOverBeforeItEnds(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p, pid := startService(t, c.Endpoints()[0], guard)
	next := newPeer(t, c)
	done, _ := next.queueUp(t.Context(), t, "e", "b")
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	p.Says(t, "ended")
	require.Equal(t, []string{"b"}, values(t, next.Client, "e"), "given back before it ended")
	resign(t, elected(t, done))
}

func TestAServiceThatIsCutOffEndsAllTheSameWhenItIsTerminated(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	for what, cut := range map[string]func(*etcdtest.Net){"off": (*etcdtest.Net).Cut, "refused": (*etcdtest.Net).Refuse} {
		net := c.Net(t)
		p, pid := startService(t, net.Endpoints()[0], lease.DefaultGrace)
		cut(net)
		require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
		p.Says(t, "ended") // and does not wait for its lease
		require.Equal(t, "service", current(t, c.Client(t), "e").Value, what)
		l := current(t, c.Client(t), "e").Lease
		revoke(t, c.Client(t), l)
	}
}

func TestALeaderThatIsKilledIsSucceededWithinItsTTLAndASecond(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	leader := startCandidate(t, c, "e", "a")
	next := newPeer(t, c)
	done, _ := next.queueUp(t.Context(), t, "e", "b")
	leader.Tell(t, "")
	leader.Says(t, "guard true txn lost false proclaim lost false")
	o := observe(t.Context(), t, next.Client, "e")
	o.next(t, "a again")
	leader.Kill(t)
	killed := time.Now()
	term := elected(t, done)
	t.Logf("elected %v after the kill, TTL %v", time.Since(killed), candidateTTL) // asserted in virtual time
	o.next(t, "b")
	resign(t, term)
}

func TestALeaderThatWasStoppedForLongerThanItsTTLWritesNothing(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	leader := startCandidate(t, c, "e", "a")
	leader.Tell(t, "")
	leader.Says(t, "guard true txn lost false proclaim lost false err lost false")
	next := newPeer(t, c)
	done, _ := next.queueUp(t.Context(), t, "e", "b")

	leader.Stop(t)
	leader.Tell(t, "") // what it does first when it wakes up
	term := elected(t, done)
	require.Equal(t, "a", string(get(t, next.Client, "e/written-by").Value))
	require.NoError(t, term.Proclaim(guarded(t), "b2"))
	put(t, next.Client, "e/written-by", "b")

	leader.Continue(t)
	leader.Says(t, "guard false txn lost true proclaim lost true err lost true")
	require.Equal(t, "b", string(get(t, next.Client, "e/written-by").Value))
	require.Equal(t, []string{"b2"}, values(t, next.Client, "e"))
	resign(t, term)
}
