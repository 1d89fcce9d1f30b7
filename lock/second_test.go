package lock_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// The second and the third in a queue are told by events in which order the keys before theirs
// and their own go; these tests are about what they must not take for their turn.

// deletions are the ways in which an operator deletes keys, the own one of a waiter first.
var deletions = map[string]func(t *testing.T, operator *clientv3.Client, keys ...string){
	"one after the other": func(t *testing.T, operator *clientv3.Client, keys ...string) {
		t.Helper()
		for _, key := range keys {
			remove(t, operator, key)
		}
	},
	"in one transaction": inOneTransaction,
	"in one transaction, the own key last": func(t *testing.T, operator *clientv3.Client, keys ...string) {
		t.Helper()
		slices.Reverse(keys)
		inOneTransaction(t, operator, keys...)
	},
}

func inOneTransaction(t *testing.T, operator *clientv3.Client, keys ...string) {
	t.Helper()
	var ops []clientv3.Op
	for _, key := range keys {
		ops = append(ops, clientv3.OpDelete(key))
	}
	_, err := operator.Txn(guarded(t)).Then(ops...).Commit()
	require.NoError(t, err)
}

// eachDeletion runs a test with each of them, and a name of its own.
func eachDeletion(t *testing.T, test func(t *testing.T, c *etcdtest.Cluster, name string, remove func(keys ...string))) {
	t.Helper()
	c := etcdtest.New(t)
	for what, remove := range deletions {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			operator := c.Client(t)
			test(t, c, c.Prefix(t)+"m", func(keys ...string) { t.Helper(); remove(t, operator, keys...) })
		})
	}
}

func TestTheSecondWhoseKeyGoesTooDoesNotOwn(t *testing.T) {
	t.Parallel()
	eachDeletion(t, func(t *testing.T, c *etcdtest.Cluster, name string, remove func(keys ...string)) {
		t.Helper()
		holder, p := newPeer(t, c), newPeer(t, c, withTTL(calm))
		h := holder.lock(t, name)
		done, e := p.queueUp(guarded(t), t, name)
		remove(e.Key, h.Key())
		next := granted(t, done)
		require.Greater(t, next.Token().Revision(), e.Revision, "it has queued again")
		held := queueOf(t, holder.Client, name)
		require.Len(t, held, 1)
		require.Equal(t, next.Key(), held[0].Key)
		lost(t, h)
		unlock(t, next)
	})
}

func TestTheThirdWhoseKeyGoesTooDoesNotOwn(t *testing.T) {
	t.Parallel()
	eachDeletion(t, func(t *testing.T, c *etcdtest.Cluster, name string, remove func(keys ...string)) {
		t.Helper()
		holder, all := newPeer(t, c), newPeers(t, c, 2, withTTL(calm))
		h := holder.lock(t, name)
		second, before := all[0].queueUp(guarded(t), t, name)
		third, e := all[1].queueUp(guarded(t), t, name)
		remove(e.Key, before.Key, h.Key())
		for range 2 { // both have queued again, who knows in which order
			var next outcome
			select {
			case next = <-second:
			case next = <-third:
			}
			require.NoError(t, next.err)
			require.Greater(t, next.hold.Token().Revision(), e.Revision)
			require.Equal(t, next.hold.Key(), queueOf(t, holder.Client, name)[0].Key)
			unlock(t, next.hold)
		}
		lost(t, h)
	})
}

// A crowd of one process is let through without a search of the queue: whoever is told
// that the entry before its own has gone, which has owned, asks for its own key alone.
func TestReleasesToACrowdAreDeliveredToOneOrTwoAndDoNotSearchTheQueue(t *testing.T) {
	t.Parallel()
	const waiters = 100
	c := etcdtest.New(t, etcdtest.WithControl())
	holder, p := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(5*time.Minute)) // no look meanwhile
	h := holder.lock(t, "m")
	m := p.mutex(t, "m")
	_, all := lined(guarded(t), t, m, waiters)
	eventually(t, func() bool { return created(p) > waiters }, "all watch, and the idle one")
	p.Rec.Reset()
	unlock(t, h)
	all.Wait()

	points, searches := 0, 0
	for _, call := range p.Rec.Calls() {
		txn, ok := call.Request.(*pb.TxnRequest)
		switch {
		case !ok || call.IsWrite():
		case len(txn.Success) == 1 && len(txn.Success[0].GetRequestRange().RangeEnd) == 0:
			points++
		default:
			searches++
		}
	}
	require.Less(t, searches, waiters/2) // on a busy machine some come to wait behind one that has owned already
	require.Positive(t, points)
	require.LessOrEqual(t, len(events(p.Rec)), 2*waiters)
}

// All watches of a session share a gRPC stream, and may fail together. To search the queue for each would
// keep the server from the holder's renewals.
func TestACrowdWhoseWatchesFailTogetherWatchesAgainWithoutASearchOfTheQueue(t *testing.T) {
	t.Parallel()
	const waiters = 100
	c := etcdtest.New(t, etcdtest.WithControl())
	holder, p := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(30*time.Second))
	h := holder.lock(t, "m")
	_, all := lined(guarded(t), t, p.mutex(t, "m"), waiters)
	eventually(t, func() bool { return created(p) > waiters }, "all watch, and the idle one")
	for range 3 {
		_, err := holder.Client.Put(guarded(t), "other", "")
		require.NoError(t, err)
	}
	require.NoError(t, c.Compact(guarded(t)))
	p.Rec.Reset()
	p.Net.Reset()
	eventually(t, func() bool { return created(p) > 2*waiters }, "all have failed, and watch again")
	for _, call := range p.Rec.Calls() {
		txn, ok := call.Request.(*pb.TxnRequest)
		search := func(op *pb.RequestOp) bool { return len(op.GetRequestRange().GetRangeEnd()) > 0 }
		require.False(t, ok && slices.ContainsFunc(txn.Success, search), call)
	}
	unlock(t, h)
	all.Wait()
}

// created returns how many of a peer's watches were created.
func created(p *peer) (n int) {
	for _, w := range p.Watches() {
		if w.Created != 0 {
			n++
		}
	}
	return n
}
