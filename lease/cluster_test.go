package lease_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/lease"
)

func newTrio(t *testing.T) *etcdtest.Cluster {
	t.Helper()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	_, err := c.WaitLeader(guarded(t))
	require.NoError(t, err)
	return c
}

// The member neither answers nor closes anything, so that a client has no sign but
// silence. Every client has its stream, and every third of its reads, there or
// elsewhere as chance will have it.
func TestNoLeaseIsLostWhenOneOfThreeMembersVanishesInSilence(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		member func(leader int) int
	}{
		{"a follower", func(leader int) int { return (leader + 1) % 3 }},
		{"the leader", func(leader int) int { return leader }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const clients = 6
			c := newTrio(t)
			vanishing := tt.member(leaderOf(t, c))
			var pulses []*pulse
			var nets []*etcdtest.Net
			var leases []*lease.Lease
			for range clients {
				client, net := c.ProxiedClient(t)
				p := newPulse()
				l := newLease(t, client, lease.WithTTL(12*time.Second), p.observe())
				p.round(t, l)
				pulses, nets, leases = append(pulses, p), append(nets, net), append(leases, l)
			}
			for _, n := range nets {
				n.CutMember(vanishing)
			}
			require.NoError(t, c.Isolate(vanishing))
			for _, p := range pulses {
				for len(p.renewed) > 0 { // it may be from before
					<-p.renewed
				}
			}
			for range 4 { // more than there are members
				for _, l := range leases {
					inside.Keys(l).Hurry()
				}
				for i, p := range pulses {
					await(t, p.renewed, "a renewal")
					require.NoError(t, leases[i].Err(), "client %d", i)
				}
			}
			for _, p := range pulses {
				require.Empty(t, p.lost)
			}
			for _, n := range nets {
				n.Heal()
			}
		})
	}
}

// It would keep unary requests until they are given up: without the demand for a leader
// every third round takes a tenth of this TTL, half a minute.
func TestAMemberCutOffFromItsPeersCostsNoTimeout(t *testing.T) {
	t.Parallel()
	const rounds, limit = 8, calm / 12
	c := newTrio(t)
	isolated := (leaderOf(t, c) + 1) % 3
	require.NoError(t, c.Isolate(isolated))
	eventually(t, func() bool { return c.Etcd(isolated).Server.Leader() == 0 }, "it knows that it has no leader")
	p := newPulse()
	s := newSession(t, c.Client(t), lease.WithTTL(calm), p.observe())
	for i := range rounds {
		l := liveLease(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		p.round(t, l)
		r, err := lease.Register(ctx, s, fmt.Sprint(c.Prefix(t), i), "")
		require.NoError(t, err)
		require.NoError(t, r.Update(ctx, "v"))
		require.NoError(t, r.Close(ctx))
		require.NoError(t, ctx.Err())
		cancel()
	}
	require.NoError(t, s.Close(guarded(t)))
}

func TestALeaseSurvivesAMoveOfTheLeader(t *testing.T) {
	t.Parallel()
	c := newTrio(t)
	p := newPulse()
	l := newLease(t, c.Client(t, etcdtest.WithFastReconnect()), lease.WithTTL(time.Minute), p.observe())
	p.round(t, l)
	for range 3 {
		deadline := l.Deadline()
		require.NoError(t, c.MoveLeader(guarded(t)))
		p.round(t, l)
		require.NoError(t, l.Err())
		require.True(t, l.Deadline().After(deadline))
	}
	require.Empty(t, p.lost)
}

func TestALeaseSurvivesTheRestartOfEveryMember(t *testing.T) {
	t.Parallel()
	c := newTrio(t)
	op := newOperator(t, c)
	p := newPulse()
	s := newSession(t, c.Client(t, etcdtest.WithFastReconnect()), lease.WithTTL(30*time.Second), p.observe())
	l := liveLease(t, s)
	key := c.Prefix(t) + "k"
	r, err := lease.Register(guarded(t), s, key, "v")
	require.NoError(t, err)
	for i := range 3 {
		require.NoError(t, c.Stop(guarded(t), i))
		p.round(t, l)
		require.NoError(t, c.Restart(guarded(t), i))
		p.round(t, l)
	}
	require.Same(t, l, liveLease(t, s))
	require.NoError(t, r.Err())
	op.requireKey(t, key, "v", l.ID())
	require.Empty(t, p.lost)
}

func TestALeaseSurvivesAQuorumLostForLessThanItsDeadline(t *testing.T) {
	t.Parallel()
	c := newTrio(t)
	p := newPulse()
	l := newLease(t, c.Client(t, etcdtest.WithFastReconnect()), lease.WithTTL(15*time.Second), p.observe(), p.listen())
	require.NoError(t, c.Kill(0))
	require.NoError(t, c.Kill(1))
	inside.Keys(l).Hurry()
	require.Equal(t, lease.Suspended, await(t, p.states, "the state"))
	require.NoError(t, c.Restart(guarded(t), 0))
	require.Equal(t, lease.Healthy, await(t, p.states, "the state"))
	require.NoError(t, l.Err())
	require.NoError(t, c.Restart(guarded(t), 1))
}

func TestASessionHealsAfterAQuorumWasLostForLonger(t *testing.T) {
	t.Parallel()
	c := newTrio(t)
	op := newOperator(t, c)
	p := newPulse()
	s := newSession(t, c.Client(t, etcdtest.WithFastReconnect()), lease.WithTTL(unhurried), p.observe())
	first := liveLease(t, s)
	key := c.Prefix(t) + "k"
	r, err := lease.Register(guarded(t), s, key, "v")
	require.NoError(t, err)
	require.NoError(t, c.Kill(0))
	require.NoError(t, c.Kill(1))
	require.ErrorIs(t, await(t, p.lost, "the loss"), lease.ErrLost)
	require.ErrorIs(t, r.Err(), lease.ErrLost)
	require.NoError(t, c.Restart(guarded(t), 0))
	eventually(t, func() bool {
		v, id, ok := op.find(t, key)
		return ok && v == "v" && id != first.ID() && r.Err() == nil
	}, "registered anew")
	require.NoError(t, c.Restart(guarded(t), 1))
}

// A leader that others have deposed, and that does not know it yet, acknowledges a
// renewal: it is cut off from them just as it gets the renewal, and the client gets
// the answer when there is a new leader. What a stopped process does is in
// TestARenewalAcknowledgedByAStoppedLeaderDoesNotCount.
func TestARenewalAcknowledgedByADeposedLeaderDoesNotCount(t *testing.T) {
	t.Parallel()
	const tries = 150
	c := newTrio(t)
	for try := range tries {
		if deposeDuringRenewal(t, c) {
			t.Logf("witnessed at try %d", try+1)
			return
		}
	}
	if suite.Long(false, true) { // on a busy machine it may notice too soon each time
		require.Failf(t, "nothing was tested", "in %d tries no deposed leader acknowledged anything", tries)
	}
	t.Skipf("in %d tries no deposed leader acknowledged anything", tries)
}

// deposeDuringRenewal reports whether the leader acknowledged a renewal although it
// was cut off, which it may notice too soon on a busy machine. It fails the test if
// that has counted.
func deposeDuringRenewal(t *testing.T, c *etcdtest.Cluster) bool {
	t.Helper()
	ctx := guarded(t)
	leader, err := c.WaitLeader(ctx)
	require.NoError(t, err)
	var rec etcdtest.Recorder
	p := newPulse()
	client := c.Client(t, etcdtest.ViaMember(leader), etcdtest.WithRecorder(&rec))
	l := newLease(t, client, lease.WithTTL(20*time.Second), p.observe(), p.listen())
	p.round(t, l) // opens the stream
	deadline := l.Deadline()

	var isolated, witnessed atomic.Bool
	var next atomic.Uint64 // the new leader's term
	rec.HookStream(func(_ string, dir etcdtest.Direction, msg any) (bool, error) {
		if dir == etcdtest.Send {
			if isolated.CompareAndSwap(false, true) {
				return false, c.Isolate(leader)
			}
			return false, nil
		}
		resp, ok := msg.(*pb.LeaseKeepAliveResponse)
		if !ok || next.Load() != 0 {
			return false, nil
		}
		i, err := c.WaitLeader(ctx, leader)
		if err != nil {
			return false, err
		}
		next.Store(c.Etcd(i).Server.Term())
		witnessed.Store(resp.Header.RaftTerm < next.Load())
		c.HealLinks() // so that the look can be answered, by a member of the new term
		return false, nil
	})
	inside.Keys(l).Hurry()
	for renewed := false; !renewed; {
		select {
		case <-p.states:
			c.HealLinks() // the renewal failed or did not count; the next shall not
		case <-p.renewed:
			renewed = true
		case <-ctx.Done():
			require.FailNow(t, "no renewal")
		}
	}
	require.True(t, l.Deadline().After(deadline))
	if !witnessed.Load() {
		return false
	}
	require.Greater(t, rec.Count("LeaseKeepAlive"), 2, "the deposed leader's did not do")
	require.GreaterOrEqual(t, lastAcknowledgement(&rec).Header.RaftTerm, next.Load(), "the one that counts is of the new term")
	return true
}

// lastAcknowledgement returns the latest reply to a renewal.
func lastAcknowledgement(rec *etcdtest.Recorder) (last *pb.LeaseKeepAliveResponse) {
	for _, call := range rec.Calls() {
		if resp, ok := call.Response.(*pb.LeaseKeepAliveResponse); ok {
			last = resp
		}
	}
	return last
}

// The lease ends no later than the servers can expire it, when the one its client
// can reach is cut off from the others.
func TestALeaseEndsInTimeWhenItsMemberIsOnTheWrongSide(t *testing.T) {
	t.Parallel()
	c := newTrio(t)
	leader := leaderOf(t, c)
	s := newSession(t, c.Client(t, etcdtest.ViaMember(leader), etcdtest.WithFastReconnect()), lease.WithTTL(unhurried))
	key := c.Prefix(t) + "k"
	_, err := lease.Register(guarded(t), s, key, "v")
	require.NoError(t, err)
	l := liveLease(t, s)
	op := newOperator(t, c, etcdtest.ViaMember((leader+1)%3))
	events := op.watch(t, key)
	require.NoError(t, c.Isolate(leader))
	awaitDelete(t, events) // the put may still be under way to this member
	require.True(t, isDone(l.Context()))
	require.ErrorIs(t, l.Err(), lease.ErrLost)
	c.HealLinks()
	eventually(t, func() bool { return liveLease(t, s).Err() == nil }, "healed")
}

// leaderOf waits for a leader, since a busy machine may be without one for a moment.
func leaderOf(t *testing.T, c *etcdtest.Cluster) int {
	t.Helper()
	leader, err := c.WaitLeader(guarded(t))
	require.NoError(t, err)
	return leader
}
