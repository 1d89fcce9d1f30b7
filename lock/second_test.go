package lock_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lock"
)

// The second in a queue is told by events in which order its predecessor's key and its own
// go; these tests are about what it must not take for its turn.

func TestTheSecondWhoseKeyGoesTooDoesNotOwn(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, remove := range map[string]func(operator *clientv3.Client, before, own string) error{
		"in one transaction": func(operator *clientv3.Client, before, own string) error {
			_, err := operator.Txn(guarded(t)).Then(clientv3.OpDelete(before), clientv3.OpDelete(own)).Commit()
			return err
		},
		"in one transaction, the own key first": func(operator *clientv3.Client, before, own string) error {
			_, err := operator.Txn(guarded(t)).Then(clientv3.OpDelete(own), clientv3.OpDelete(before)).Commit()
			return err
		},
		"its own before": func(operator *clientv3.Client, before, own string) error {
			if _, err := operator.Delete(guarded(t), own); err != nil {
				return err
			}
			_, err := operator.Delete(guarded(t), before)
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			name, operator := c.Prefix(t)+"m", c.Client(t)
			holder, p := newPeer(t, c, withTTL(unhurried)), newPeer(t, c, withTTL(calm))
			h := holder.lock(t, name)
			done, e := p.queueUp(guarded(t), t, name)
			require.NoError(t, remove(operator, h.Key(), e.Key))
			next := granted(t, done)
			require.Greater(t, next.Token().Revision(), e.Revision, "it has queued again")
			held, err := lock.Inspect(guarded(t), operator, name)
			require.NoError(t, err)
			require.Len(t, held, 1)
			require.Equal(t, next.Key(), held[0].Key)
			lost(t, h)
			unlock(t, next)
		})
	}
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
	var all sync.WaitGroup
	for range waiters {
		all.Go(func() {
			h, err := m.Lock(guarded(t))
			if err == nil {
				err = h.Unlock(guarded(t))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
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

// created returns how many of a peer's watches were created.
func created(p *peer) (n int) {
	for _, w := range p.Watches() {
		if w.Created != 0 {
			n++
		}
	}
	return n
}
