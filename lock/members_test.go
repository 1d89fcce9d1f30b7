package lock_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// Faults of clusters with several members.

// killLeader kills the leader, waits for another and starts it again.
func killLeader(t *testing.T, c *etcdtest.Cluster) {
	t.Helper()
	was, err := c.WaitLeader(guarded(t))
	require.NoError(t, err)
	require.NoError(t, c.Kill(was))
	_, err = c.WaitLeader(guarded(t), was)
	require.NoError(t, err)
	require.NoError(t, c.Restart(guarded(t), was))
}

// clusterFaults are what a queue has to go through unharmed.
var clusterFaults = []struct {
	name string
	do   func(t *testing.T, c *etcdtest.Cluster, peers []*peer)
}{
	{"compaction", func(t *testing.T, c *etcdtest.Cluster, _ []*peer) {
		t.Helper()
		require.NoError(t, c.Compact(guarded(t)))
	}},
	{"reconnect", func(_ *testing.T, _ *etcdtest.Cluster, peers []*peer) {
		for _, p := range peers {
			p.Net.Reset()
		}
	}},
	{"leader move", func(t *testing.T, c *etcdtest.Cluster, _ []*peer) {
		t.Helper()
		require.NoError(t, c.MoveLeader(guarded(t)))
	}},
	{"leader loss", func(t *testing.T, c *etcdtest.Cluster, _ []*peer) {
		t.Helper()
		killLeader(t, c)
	}},
	{"restart of every member", func(t *testing.T, c *etcdtest.Cluster, _ []*peer) {
		t.Helper()
		for i := range c.Size() {
			require.NoError(t, c.Stop(guarded(t), i))
			require.NoError(t, c.Restart(guarded(t), i))
		}
	}},
	{"loss of the quorum", func(t *testing.T, c *etcdtest.Cluster, _ []*peer) {
		t.Helper()
		for i := range c.Size() - 1 {
			require.NoError(t, c.Isolate(i))
		}
		eventually(t, func() bool {
			for i := range c.Size() {
				if c.Etcd(i).Server.Leader() != 0 {
					return false
				}
			}
			return true
		}, "no member has a leader")
		c.HealLinks()
		_, err := c.WaitLeader(guarded(t))
		require.NoError(t, err)
	}},
}

func TestWaitersKeepTheirPlacesThroughFaultsOfTheCluster(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	holder, peers := newPeer(t, c, withTTL(calm)), newPeers(t, c, 3, withTTL(calm))
	for _, fault := range clusterFaults {
		h := holder.lock(t, fault.name)
		var places []int64
		var outcomes []<-chan outcome
		for _, p := range peers {
			done, e := p.queueUp(guarded(t), t, fault.name)
			places, outcomes = append(places, e.Revision), append(outcomes, done)
		}
		fault.do(t, c, peers)
		for i, done := range outcomes {
			stillWaits(t, done)
			unlock(t, h)
			h = granted(t, done)
			require.Equal(t, places[i], h.Token().Revision(), "%s, waiter %d", fault.name, i)
		}
		unlock(t, h)
		for _, p := range peers {
			p.Rec.Reset()
		}
	}
}

func TestTwentyContendersGetOnThroughFaultsOfTheCluster(t *testing.T) {
	// Otherwise waiters go through the same faults, above, and contenders through random ones, in histories.
	suite.Nightly(t)
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	peers := newPeers(t, c, 20)
	s := &section{t: t}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for _, p := range peers {
		m := p.mutex(t, "m")
		wg.Go(func() {
			for ctx.Err() == nil {
				err := m.Do(ctx, func(_ context.Context, h *lock.Hold) error {
					s.visit(h)
					return nil
				})
				// On a busy machine a lease may be lost, after which its session goes on with another.
				if err != nil && ctx.Err() == nil && !lostAnyhow(err) {
					t.Error(err)
					return
				}
			}
		})
	}
	goOn := func(after string) {
		n := s.count() + 2*len(peers)
		eventually(t, func() bool { return s.count() >= n }, "after %s", after)
	}
	goOn("the start")
	for _, fault := range clusterFaults {
		fault.do(t, c, peers)
		goOn(fault.name)
	}
	stop()
	wg.Wait()
	awaitQueue(t, c.Client(t), "m", 0)
}

// vanishing is a TTL of whose round the first attempt may go to a member that has vanished, and which
// a busy machine does not lose.
const vanishing = 15 * time.Second

// hurry lets the round of the session's lease begin now.
func (p *peer) hurry(t *testing.T) {
	t.Helper()
	l, err := p.Session.Lease(guarded(t))
	require.NoError(t, err)
	inside.Keys(l).Hurry()
}

func TestWaiterOfAMemberThatVanishedSilentlyIsGranted(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	holder, p := newPeer(t, c), newPeer(t, c, withTTL(vanishing))
	h := holder.lock(t, "m")
	done, e := p.queueUp(guarded(t), t, "m")
	p.Net.Member(watchMember(t, c, p.Rec)).HalfOpen()
	unlock(t, h)
	p.hurry(t)
	next := granted(t, done)
	require.Equal(t, e.Revision, next.Token().Revision(), "found by the look, before the lease was lost")
	unlock(t, next)
}

// watchMember returns the member that has created the client's latest watch.
func watchMember(t *testing.T, c *etcdtest.Cluster, rec *etcdtest.Recorder) int {
	t.Helper()
	var id uint64
	for _, call := range rec.Calls() {
		if resp, ok := call.Response.(*pb.WatchResponse); ok && resp.Created {
			id = resp.Header.MemberId
		}
	}
	for i := range c.Size() {
		if uint64(c.Etcd(i).Server.MemberID()) == id {
			return i
		}
	}
	require.FailNow(t, "no member has this ID", "%x", id)
	return -1
}

func TestWaiterKeepsItsPlaceWhenItsMemberLosesTheLeader(t *testing.T) {
	t.Parallel()
	for _, released := range []bool{false, true} {
		c := etcdtest.New(t, etcdtest.WithMembers(3))
		leader, err := c.WaitLeader(guarded(t))
		require.NoError(t, err)
		follower := (leader + 1) % c.Size()
		p := newPeer(t, c, withTTL(calm), withClient(etcdtest.ViaMember(follower)))
		holder := newPeer(t, c, withTTL(calm), withClient(etcdtest.ViaMember(leader)))
		h := holder.lock(t, "m")
		done, e := p.queueUp(guarded(t), t, "m")
		reads := p.Rec.Count("Txn")
		require.NoError(t, c.Isolate(follower))
		// RequireLeader: the member ends the stream instead of keeping quiet, and refuses
		// the read that follows.
		eventually(t, func() bool { return p.Rec.Count("Txn") > reads+1 }, "the queue is read, again and again")
		stillWaits(t, done)
		if released {
			unlock(t, h)
		}
		c.HealLinks()
		if !released {
			unlock(t, h)
		}
		next := granted(t, done)
		require.Equal(t, e.Revision, next.Token().Revision())
		unlock(t, next)
	}
}

// lostAnyhow reports whether a hold was lost before its end or in Unlock, which then returns
// why its lease has ended.
func lostAnyhow(err error) bool { return errors.Is(err, lock.ErrLost) || errors.Is(err, lease.ErrLost) }

// What operators use when things are down.
func TestInspectAndRequestsSucceedWhileOneOfThreeMembersHasVanished(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	h := newPeer(t, c, withTTL(calm)).lock(t, "m")
	requested := h.ReleaseRequested()
	client, net := c.ProxiedClient(t)
	for range 2 * c.Size() { // connected to all of them
		require.Len(t, queueOf(t, client, "m"), 1)
	}
	net.CutMember(0)
	ctx := guarded(t) // one member's silence would last longer
	var all sync.WaitGroup
	for range 2 * c.Size() {
		all.Go(func() {
			entries, err := lock.Inspect(ctx, client, "m")
			if err != nil || len(entries) != 1 || entries[0].Key != h.Key() {
				t.Error(entries, err)
			}
		})
		all.Go(func() {
			if err := lock.RequestRelease(ctx, client, "m"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	await(t, requested, "the holder is asked")
	unlock(t, h)
}
