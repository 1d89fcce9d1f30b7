//go:build unix

package election_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/proctest"
)

func startCandidate(t *testing.T, c *etcdtest.Cluster, name, value string) *proctest.Process {
	t.Helper()
	p := proctest.Start(t, "candidate", c.Endpoints()[0], name, value)
	p.Says(t, "elected")
	return p
}

func TestALeaderThatIsKilledIsSucceededWithinItsTTLAndASecond(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	leader := startCandidate(t, c, "e", "a")
	next := newPeer(t, c)
	done, _ := next.queueUp(guarded(t), t, "e", "b")
	leader.Tell(t, "")
	leader.Says(t, "guard true txn lost false proclaim lost false")
	o := observe(guarded(t), t, next.Client, "e")
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
	done, _ := next.queueUp(guarded(t), t, "e", "b")

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
