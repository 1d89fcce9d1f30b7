package lock_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// These tests count requests. What the package documents as cost is what they say.

// tally is what a client has sent.
type tally struct {
	writes  int // transactions that may write
	local   int // reads answered by one member
	quorum  int // linearizable reads
	watches int
	other   int // anything else but the cancellation of watches
}

// sent counts what a client has sent. A member tells of an event before it can be read, and what it
// was asked for too early is read once more through a quorum: that is one read here.
func sent(rec *etcdtest.Recorder) tally {
	var n tally
	var before *pb.TxnRequest // the last that was local
	for _, c := range rec.Calls() {
		req, txn := c.Request.(*pb.TxnRequest)
		switch {
		case c.Stream && c.Request == nil, c.Method == "WatchCancel":
		case c.IsWatchCreate():
			n.watches++
		case txn && c.IsWrite():
			n.writes++
		case txn && local(req):
			n.local++
			before = req
		case txn && again(before, req):
			before = nil
		case txn:
			n.quorum++
		default:
			n.other++
		}
	}
	return n
}

func local(txn *pb.TxnRequest) bool {
	for _, op := range txn.Success {
		if !op.GetRequestRange().GetSerializable() {
			return false
		}
	}
	return true
}

// again reports whether a read asks for the same as one before it.
func again(before, txn *pb.TxnRequest) bool {
	return before != nil && slices.EqualFunc(before.Success, txn.Success, func(a, b *pb.RequestOp) bool {
		return bytes.Equal(a.GetRequestRange().GetKey(), b.GetRequestRange().GetKey())
	})
}

// waiter returns a peer that has waited for lock m before, so that its watch stream is open.
func waiter(t *testing.T, c *etcdtest.Cluster) *peer {
	t.Helper()
	const name = "m"
	p, other := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
	h := other.lock(t, name)
	done, _ := p.queueUp(guarded(t), t, name)
	unlock(t, h)
	unlock(t, granted(t, done))
	eventually(t, func() bool { return len(p.Watches()) == 2 && p.Watches()[1].Created != 0 }, "the idle watch")
	return p
}

// beyond queues a peer up behind more than it knows by name, lets all of them but the last go, and
// returns that one's hold: for whoever reads when it is woken.
func beyond(t *testing.T, c *etcdtest.Cluster, p *peer, name string) (last *lock.Hold, done <-chan outcome, e lease.Event) {
	t.Helper()
	last = newPeer(t, c, withTTL(calm)).lock(t, name)
	var before []<-chan outcome
	for _, other := range newPeers(t, c, 3, withTTL(calm)) {
		waits, _ := other.queueUp(guarded(t), t, name)
		before = append(before, waits)
	}
	done, e = p.queueUp(guarded(t), t, name)
	for _, waits := range before {
		unlock(t, last)
		last = granted(t, waits)
	}
	return last, done, e
}

func TestLockAndUnlockOfAFreeLockCostOneWriteEach(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := newPeer(t, c, withTTL(calm))
	m := p.mutex(t, c.Prefix(t)+"m")
	for range 3 {
		p.Rec.Reset()
		h, err := m.Lock(guarded(t))
		require.NoError(t, err)
		require.Equal(t, tally{writes: 1}, sent(p.Rec), "Lock")
		p.Rec.Reset()
		unlock(t, h)
		require.Equal(t, tally{writes: 1}, sent(p.Rec), "Unlock")
		unlock(t, h)
		require.Equal(t, tally{writes: 1}, sent(p.Rec), "Unlock of what is unlocked")
	}
}

func TestLockOfATakenLockCostsOneWriteAndOneWatch(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p, holder := waiter(t, c), newPeer(t, c, withTTL(calm))
	h := holder.lock(t, "m")
	p.Rec.Reset()
	done, e := p.queueUp(guarded(t), t, "m")
	require.Equal(t, tally{writes: 1, watches: 1}, sent(p.Rec), "no read: nothing was written before the watch began")

	w := p.Watches()[0]
	require.Equal(t, min(h.Key(), e.Key), w.Key, "the predecessor is watched, and the own key")
	require.Equal(t, max(h.Key(), e.Key)+"\x00", w.End)
	require.Zero(t, w.Start)
	require.Equal(t, []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}, w.Filters)
	require.Equal(t, h.Key(), e.Predecessor)

	p.Rec.Reset()
	unlock(t, h)
	next := granted(t, done)
	require.Equal(t, tally{}, sent(p.Rec), "the wake-up is an event")
	require.Equal(t, e.Key, next.Key())
	p.Rec.Reset()
	unlock(t, next)
	require.Equal(t, tally{writes: 1}, sent(p.Rec))
}

func TestLockReadsOnceWhenTheStoreMovedBeforeItsWatchBegan(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p, holder, operator := waiter(t, c), newPeer(t, c, withTTL(calm)), c.Client(t)
	h := holder.lock(t, "m")
	p.Rec.Reset()
	p.Rec.HookStream(func(_ string, d etcdtest.Direction, msg any) (bool, error) {
		if req, ok := msg.(*pb.WatchRequest); ok && d == etcdtest.Send && req.GetCreateRequest() != nil {
			_, err := operator.Put(guarded(t), "somewhere", "else")
			return false, err
		}
		return false, nil
	})
	done, _ := p.queueUp(guarded(t), t, "m")
	eventually(t, func() bool { return sent(p.Rec).local > 0 }, "the read of the predecessor")
	require.Equal(t, tally{writes: 1, local: 1, watches: 1}, sent(p.Rec))
	unlock(t, h)
	unlock(t, granted(t, done))
	require.Equal(t, tally{writes: 2, local: 1, watches: 1}, sent(p.Rec))
}

func TestAPredecessorGoneBeforeTheWatchBeganIsFoundByTheRead(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p, holder := waiter(t, c), newPeer(t, c, withTTL(calm))
	h := holder.lock(t, "m")
	p.Rec.Reset()
	var once atomic.Bool
	p.Rec.HookStream(func(_ string, d etcdtest.Direction, msg any) (bool, error) {
		if _, ok := msg.(*pb.WatchRequest); ok && d == etcdtest.Send && once.CompareAndSwap(false, true) {
			return false, h.Unlock(guarded(t))
		}
		return false, nil
	})
	next := granted(t, p.lockSoon(guarded(t), t, "m"))
	require.Equal(t, tally{writes: 1, local: 1, watches: 1}, sent(p.Rec), "it is gone, and the own entry there")
	unlock(t, next)
}

func TestTryLockCostsOneRoundTripAndNothingIsStoredWhenTaken(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p, holder := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
	m := p.mutex(t, "m")
	p.Rec.Reset()
	h, err := m.TryLock(guarded(t))
	require.NoError(t, err)
	require.Equal(t, tally{writes: 1}, sent(p.Rec))
	unlock(t, h)

	h = holder.lock(t, "m")
	before := revision(t, c.Client(t))
	p.Rec.Reset()
	_, err = m.TryLock(guarded(t))
	require.ErrorIs(t, err, lock.ErrLocked)
	require.Equal(t, tally{writes: 1}, sent(p.Rec), "the only request")
	require.Equal(t, before, revision(t, c.Client(t)), "no revision is consumed")
	unlock(t, h)
}

func TestAWaiterThatGivesUpCostsOneWrite(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p, holder := waiter(t, c), newPeer(t, c, withTTL(calm))
	h := holder.lock(t, "m")
	ctx, cancel := context.WithCancel(guarded(t))
	done, e := p.queueUp(ctx, t, "m")
	p.Rec.Reset()
	cancel()
	require.ErrorIs(t, await(t, done, "Lock returns").err, context.Canceled)
	awaitDelete(t, c.Client(t), e.Key, e.Revision)
	cost := sent(p.Rec)
	require.LessOrEqual(t, cost.watches, 1, "the idle one again, if it gave up before it knew that its watch had been created")
	cost.watches = 0
	require.Equal(t, tally{writes: 1}, cost)
	unlock(t, h)
}

func TestAReplacedPredecessorCostsAReadAndAWatch(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	last, middle, holder := waiter(t, c), newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
	h := holder.lock(t, "m")
	ctx, cancel := context.WithCancel(guarded(t))
	gone, _ := middle.queueUp(ctx, t, "m")
	done, e := last.queueUp(guarded(t), t, "m")
	last.Rec.Reset()
	cancel()
	require.Error(t, await(t, gone, "the one between gives up").err)
	last.AwaitWatch(t, h.Key(), e.Key)
	require.Equal(t, tally{local: 1, watches: 1}, sent(last.Rec))
	stillWaits(t, done)
	unlock(t, h)
	unlock(t, granted(t, done))
}

func TestOneUnlockWakesOneWaiter(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	holder, waiters := newPeer(t, c, withTTL(calm)), newPeers(t, c, 8, withTTL(calm))
	h := holder.lock(t, "m")
	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	outcomes := make([]<-chan outcome, len(waiters))
	for i, p := range waiters {
		outcomes[i], _ = p.queueUp(ctx, t, "m")
		// The idle watch as well, so that the count below is of what comes after.
		eventually(t, func() bool { w := p.Watches(); return len(w) == 2 && w[1].Created != 0 }, "the idle watch")
		p.Rec.Reset()
	}
	unlock(t, h)
	first := granted(t, outcomes[0])
	require.Equal(t, tally{}, sent(waiters[0].Rec))
	require.Len(t, events(waiters[0].Rec), 1)
	require.LessOrEqual(t, len(events(waiters[1].Rec)), 1, "the third knows by it that the second owns")
	for _, p := range waiters[1:] {
		require.Equal(t, tally{}, sent(p.Rec))
	}
	for _, p := range waiters[2:] {
		require.Empty(t, events(p.Rec))
	}
	unlock(t, first)
	for _, done := range outcomes[1:] {
		unlock(t, granted(t, done))
	}
}

func TestTheThirdTakesOverWithoutARead(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	last, middle, holder := waiter(t, c), newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
	h := holder.lock(t, "m")
	second, _ := middle.queueUp(guarded(t), t, "m")
	last.Rec.Reset()
	third, e := last.queueUp(guarded(t), t, "m")
	require.Equal(t, tally{writes: 1, watches: 1}, sent(last.Rec))
	last.Rec.Reset()
	unlock(t, h)
	unlock(t, granted(t, second))
	h = granted(t, third)
	require.Equal(t, tally{}, sent(last.Rec))
	require.Len(t, events(last.Rec), 2)
	require.Equal(t, e.Key, h.Key())
	unlock(t, h)
}

// events returns the events that the client's watches were sent.
func events(rec *etcdtest.Recorder) (all []*clientv3.Event) {
	for _, c := range rec.Calls() {
		if resp, ok := c.Response.(*pb.WatchResponse); ok {
			all = append(all, resp.Events...)
		}
	}
	return all
}

func TestHoldsCostNothingBesidesTheSessionsRound(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, prefix := newPeer(t, c, withTTL(unhurried)), c.Prefix(t)
	for i := range 100 {
		p.lock(t, fmt.Sprintf("%sm%d", prefix, i))
	}
	p.Rec.Reset()
	for n := range 3 {
		p.hurry(t)
		eventually(t, func() bool { return p.Rec.Count("LeaseKeepAlive") > n }, "a round")
	}
	n := sent(p.Rec)
	require.Zero(t, n.writes+n.local+n.watches)
	require.LessOrEqual(t, n.quorum, p.Rec.Count("LeaseKeepAlive")+1, "one look a round, whatever is held")
	require.Positive(t, n.quorum) // a renewal may have been repeated
}

func TestALockAfterALeaseLossCostsOneGrantMore(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	h := p.lock(t, name)
	l, err := p.Session.Lease(guarded(t))
	require.NoError(t, err)
	revoke(t, c.Client(t), l.ID())
	inside.Keys(l).Hurry()
	lost(t, h)
	// The lost lease is revoked in the background.
	eventually(t, func() bool { return p.Rec.Count("LeaseRevoke") >= 1 }, "the revocation")
	p.Rec.Reset()
	unlock(t, p.lock(t, name))
	require.Equal(t, 1, p.Rec.Count("LeaseGrant"))
	require.Equal(t, tally{writes: 2, other: 1}, sent(p.Rec))
}

func TestAHoldsTransactionIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, prefix := newPeer(t, c, withTTL(calm)), c.Prefix(t)
	h := p.lock(t, prefix+"m")
	p.Rec.Reset()
	_, err := h.Txn(guarded(t)).Then(clientv3.OpPut(prefix+"k", "v")).Commit()
	require.NoError(t, err)
	require.Equal(t, tally{writes: 1}, sent(p.Rec))
	unlock(t, h)
}
