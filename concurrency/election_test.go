package concurrency_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// requireSeen requires that an observer is told of a leader with this value.
func requireSeen(t *testing.T, seen <-chan *clientv3.GetResponse, value string) *clientv3.GetResponse {
	t.Helper()
	for {
		resp := await(t, seen, "somebody observes "+value)
		require.NotNil(t, resp, "the channel is open")
		if string(resp.Kvs[0].Value) == value {
			return resp
		}
	}
}

func TestLeadersAreElectedInOrderAndObserved(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "e"
	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	watcher := newMember(t, c)
	_, err := concurrency.NewElection(watcher.Session, name).Leader(ctx)
	require.Equal(t, concurrency.ErrElectionNoLeader, err)
	seen := concurrency.NewElection(watcher.Session, name).Observe(ctx)
	var all []*concurrency.Election
	var done []<-chan error
	for i := range 4 {
		m := newMember(t, c)
		e := concurrency.NewElection(m.Session, name)
		campaign := func() error { return e.Campaign(ctx, fmt.Sprint("v", i)) }
		if all = append(all, e); i == 0 {
			require.NoError(t, campaign())
			done = append(done, nil)
			continue
		}
		done = append(done, m.waiting(t, campaign))
	}
	var last int64
	for i, e := range all {
		if done[i] != nil {
			requireSuccess(t, done[i])
		}
		resp := requireSeen(t, seen, fmt.Sprint("v", i))
		require.Equal(t, e.Key(), string(resp.Kvs[0].Key))
		require.Equal(t, e.Rev(), resp.Kvs[0].CreateRevision)
		require.Equal(t, e.Rev(), e.Header().Revision)
		require.NotZero(t, e.Header().ClusterId)
		leader, err := concurrency.NewElection(watcher.Session, name).Leader(ctx)
		require.NoError(t, err)
		require.Equal(t, e.Key(), string(leader.Kvs[0].Key))
		require.Equal(t, e.Rev(), leader.Kvs[0].CreateRevision)
		require.EqualValues(t, 1, leader.Kvs[0].Version)
		require.NotZero(t, leader.Kvs[0].Lease)
		require.NotZero(t, leader.Header.ClusterId)
		require.GreaterOrEqual(t, leader.Header.Revision, e.Rev())
		require.NoError(t, e.Proclaim(ctx, fmt.Sprint("again ", i)))
		resp = requireSeen(t, seen, fmt.Sprint("again ", i))
		require.Equal(t, e.Header().Revision, resp.Kvs[0].ModRevision)
		require.GreaterOrEqual(t, resp.Header.Revision, last)
		last = resp.Header.Revision
		require.NoError(t, e.Proclaim(ctx, fmt.Sprint("again ", i)))
		require.Equal(t, e.Header().Revision, requireSeen(t, seen, fmt.Sprint("again ", i)).Kvs[0].ModRevision, "each is told")
		require.NoError(t, e.Resign(ctx))
		require.Empty(t, e.Key())
		require.NoError(t, e.Resign(ctx), "once more")
		require.Equal(t, concurrency.ErrElectionNotLeader, e.Proclaim(ctx, "x"))
	}
	cancel()
	eventually(t, func() bool {
		select {
		case _, open := <-seen:
			return !open
		default:
			return false
		}
	}, "the channel is closed")
}

func TestTheNextIsElectedWhenALeadersSessionIsClosed(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, first, second := c.Prefix(t)+"e", newMember(t, c), newMember(t, c)
	e := concurrency.NewElection(first.Session, name)
	require.NoError(t, e.Campaign(guarded(t), "a"))
	next := concurrency.NewElection(second.Session, name)
	done := second.waiting(t, func() error { return next.Campaign(guarded(t), "b") })
	require.NoError(t, first.Close())
	requireSuccess(t, done)
	require.Equal(t, "b", string(requireSeen(t, next.Observe(guarded(t)), "b").Kvs[0].Value))
	require.Equal(t, concurrency.ErrElectionNotLeader, e.Proclaim(guarded(t), "late"))
	require.NoError(t, e.Resign(guarded(t)), "it does not lead")
}

func TestASessionCampaignsAgainWithAnotherValue(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, m := c.Prefix(t)+"e", newMember(t, c)
	e := concurrency.NewElection(m.Session, name)
	require.NoError(t, e.Campaign(guarded(t), "abc"))
	again := concurrency.NewElection(m.Session, name)
	require.NoError(t, again.Campaign(guarded(t), "def"))
	require.Equal(t, e.Key(), again.Key())
	require.Equal(t, e.Rev(), again.Rev())
	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	require.Equal(t, "def", string(await(t, e.Observe(ctx), "the leader").Kvs[0].Value))
}

func TestNobodyLeadsAfterACampaignThatHasFailed(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	large := strings.Repeat("x", 2<<20)
	name, m := c.Prefix(t)+"e", newMember(t, c)
	e := concurrency.NewElection(m.Session, name)
	require.NoError(t, e.Campaign(guarded(t), "a"))
	require.Error(t, concurrency.NewElection(m.Session, name).Campaign(guarded(t), large))
	_, err := e.Leader(guarded(t))
	require.Equal(t, concurrency.ErrElectionNoLeader, err)
	require.Equal(t, concurrency.ErrElectionNotLeader, e.Proclaim(guarded(t), "b"))

	// And so with what an earlier process has left.
	require.NoError(t, e.Campaign(guarded(t), "a"))
	m.Orphan()
	after := newMember(t, c, concurrency.WithLease(m.Lease()))
	require.Error(t, concurrency.NewElection(after.Session, name).Campaign(guarded(t), large))
	_, err = e.Leader(guarded(t))
	require.Equal(t, concurrency.ErrElectionNoLeader, err)
}

func TestAnElectionHasNothingToDoWithKeysThatItsNameBegins(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, m := c.Prefix(t)+"test", newMember(t, c)
	put(t, m.client, name+"a", "value")
	require.NoError(t, concurrency.NewElection(m.Session, name).Campaign(guarded(t), "abc"))
}

func TestALeaderThatWasStartedAnewTakesUpItsTerm(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, before, waiter := c.Prefix(t)+"e", newMember(t, c), newMember(t, c)
	e := concurrency.NewElection(before.Session, name)
	require.NoError(t, e.Campaign(guarded(t), "abc"))
	done := waiter.waiting(t, func() error { return concurrency.NewElection(waiter.Session, name).Campaign(guarded(t), "123") })

	// On the same lease: while the one before lives, too.
	for _, orphan := range []bool{false, true} {
		if orphan {
			before.Orphan()
		}
		after := newMember(t, c, concurrency.WithLease(before.Lease()))
		again := concurrency.NewElection(after.Session, name)
		require.NoError(t, again.Campaign(guarded(t), "def"))
		require.Equal(t, e.Rev(), again.Rev())
		leader, err := again.Leader(guarded(t))
		require.NoError(t, err)
		require.Equal(t, "def", string(leader.Kvs[0].Value))

		resumed := concurrency.ResumeElection(after.Session, name, again.Key(), again.Rev())
		require.Equal(t, again.Key(), resumed.Key())
		require.Equal(t, again.Rev(), resumed.Rev())
		require.NoError(t, resumed.Proclaim(guarded(t), "ghi"))
		leader, err = resumed.Leader(guarded(t))
		require.NoError(t, err)
		require.Equal(t, "ghi", string(leader.Kvs[0].Value))
		requirePending(t, done)
		if orphan {
			require.NoError(t, resumed.Resign(guarded(t)))
		} else {
			after.Orphan()
		}
	}
	requireSuccess(t, done)
}

func TestAResumedElectionGoesOnAsTheOneBefore(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for _, pfx := range []string{c.Prefix(t) + "/resume/", c.Prefix(t) + "bare"} {
		m := newMember(t, c)
		e := concurrency.NewElection(m.Session, pfx)
		require.NoError(t, e.Campaign(guarded(t), "candidate1"))
		leader, err := e.Leader(guarded(t))
		require.NoError(t, err)
		e = concurrency.ResumeElection(m.Session, pfx, string(leader.Kvs[0].Key), leader.Kvs[0].CreateRevision)
		ctx, cancel := context.WithCancel(guarded(t))
		seen := e.Observe(ctx)
		requireSeen(t, seen, "candidate1")
		put(t, m.client, "foo", "bar")
		require.NoError(t, e.Resign(ctx))
		require.NoError(t, e.Campaign(ctx, "candidate2"))
		resp := requireSeen(t, seen, "candidate2")
		require.True(t, strings.HasPrefix(string(resp.Kvs[0].Key), pfx+"/"))
		require.NoError(t, e.Resign(ctx))
		cancel()

		gone := concurrency.ResumeElection(m.Session, pfx, string(resp.Kvs[0].Key), resp.Kvs[0].CreateRevision)
		require.Equal(t, concurrency.ErrElectionNotLeader, gone.Proclaim(guarded(t), "x"))
		require.Empty(t, gone.Key())
		gone = concurrency.ResumeElection(m.Session, pfx, string(resp.Kvs[0].Key), resp.Kvs[0].CreateRevision)
		require.NoError(t, gone.Resign(guarded(t)))
	}
}

func TestObserversStartAfterCompaction(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	m := newMember(t, c)
	e := concurrency.NewElection(m.Session, "e")
	require.NoError(t, e.Campaign(guarded(t), "abc"))
	rev := put(t, m.client, "foo", "bar")
	_, err := m.client.Compact(guarded(t), rev)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	requireSeen(t, e.Observe(ctx), "abc")
}

// The other library tells it that it leads, since it looks only at those before it.
func TestACandidateWhoseKeyIsDeletedWhileItWaitsDoesNotLead(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, first, second := c.Prefix(t)+"e", newMember(t, c), newMember(t, c)
	e := concurrency.NewElection(first.Session, name)
	require.NoError(t, e.Campaign(guarded(t), "a"))
	done := second.waiting(t, func() error { return concurrency.NewElection(second.Session, name).Campaign(guarded(t), "b") })
	op, key := c.Client(t), fmt.Sprintf("%s/%x", name, int64(second.Lease()))
	before := get(t, op, key)
	remove(t, op, key)
	eventually(t, func() bool {
		again, err := op.Get(guarded(t), key, clientv3.WithPrefix())
		return err == nil && len(again.Kvs) == 1 && again.Kvs[0].CreateRevision > before.CreateRevision
	}, "it queues again")
	requirePending(t, done)
	revoke(t, op, second.Lease())
	require.NoError(t, e.Resign(guarded(t)))
	require.Equal(t, concurrency.ErrSessionExpired, await(t, done, "Campaign returns"))
}

func TestCampaignReturnsItsContextsOwnError(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, first, second := c.Prefix(t)+"e", newMember(t, c), newMember(t, c)
	require.NoError(t, concurrency.NewElection(first.Session, name).Campaign(guarded(t), "a"))
	ctx, cancel := context.WithCancel(guarded(t))
	done := second.waiting(t, func() error { return concurrency.NewElection(second.Session, name).Campaign(ctx, "b") })
	cancel()
	require.Equal(t, context.Canceled, await(t, done, "Campaign returns"))
}

func TestACampaignWithTheSameValueKeepsTheTermIfItsContextEnds(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, m := c.Prefix(t)+"e", newMember(t, c)
	e := concurrency.NewElection(m.Session, name)
	require.NoError(t, e.Campaign(guarded(t), "a"))
	rev, asked := e.Rev(), make(chan struct{})
	var once sync.Once
	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	remove := m.rec.Hook("Txn", func(ctx context.Context, _ any, invoke func() error) error {
		_ = invoke() // the answer is lost
		once.Do(func() { close(asked) })
		return etcdtest.Vanished(ctx)
	})
	done := soon(func() error { return e.Campaign(ctx, "a") })
	requireClosed(t, asked)
	cancel()
	require.Equal(t, context.Canceled, await(t, done, "Campaign returns"))
	remove()

	before := m.rec.Writes()
	require.NoError(t, concurrency.NewElection(m.Session, name).Campaign(guarded(t), "a"))
	require.Equal(t, before, m.rec.Writes(), "there is nothing to write")
	require.NoError(t, e.Campaign(guarded(t), "a"))
	require.Equal(t, rev, e.Rev(), "it still leads")
	require.NoError(t, e.Proclaim(guarded(t), "b"))
	resp, err := e.Leader(guarded(t))
	require.NoError(t, err)
	require.Equal(t, "b", string(resp.Kvs[0].Value))
	require.Equal(t, rev, resp.Kvs[0].CreateRevision)
}

func TestACampaignWithTheSameValueWritesItIfAProclaimMayStillReplaceIt(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, m := c.Prefix(t)+"e", newMember(t, c)
	e := concurrency.NewElection(m.Session, name)
	require.NoError(t, e.Campaign(guarded(t), "a"))
	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	swallowed := make(chan *pb.TxnRequest, 1)
	stop := m.rec.Hook("Txn", func(ctx context.Context, req any, _ func() error) error {
		if txn, ok := req.(*pb.TxnRequest); ok && txn.Success[0].GetRequestPut() != nil {
			swallowed <- txn
		}
		cancel()
		return etcdtest.Vanished(ctx)
	})
	require.Equal(t, context.Canceled, e.Proclaim(ctx, "late"))
	stop()
	require.NoError(t, concurrency.NewElection(m.Session, name).Campaign(guarded(t), "a"))
	_, err := pb.NewKVClient(m.client.ActiveConnection()).Txn(guarded(t), await(t, swallowed, "the late one"))
	require.NoError(t, err)
	require.Equal(t, "a", string(get(t, m.client, e.Key()).Value))

	before := m.rec.Writes()
	require.NoError(t, e.Campaign(guarded(t), "a"))
	require.Equal(t, before, m.rec.Writes(), "nothing can replace it any more")
}
