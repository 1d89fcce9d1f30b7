package lock_test

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lock"
)

// lateReply cuts the party off when its next entry has been put, and lets the reply come
// after the deadline of its lease, to whoever waits for it still.
func (p *party) lateReply(t *testing.T) {
	t.Helper()
	var came atomic.Bool
	p.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		err := invoke()
		if txn, ok := req.(*pb.TxnRequest); ok && putsSomething(txn) && !came.Swap(true) {
			p.cut.Cut()
			vtime.Sleep(2 * partyTTL)
			p.cut.Heal()
		}
		return err
	})
}

func TestAReplyThatComesAfterTheDeadlineGrantsNothing(t *testing.T) {
	t.Parallel()
	eachVirtually(t, map[string]func(m *lock.Mutex) taker{
		"Lock":    func(m *lock.Mutex) taker { return m.Lock },
		"TryLock": func(m *lock.Mutex) taker { return m.TryLock },
	}, func(t *testing.T, s *vtime.Server, of func(m *lock.Mutex) taker) {
		t.Helper()
		p := newParty(t, s)
		m := p.mutex(t)
		before := p.lease(t)
		p.lateReply(t)
		h, err := of(m)(anHour(t))
		require.NoError(t, err)
		require.NoError(t, h.Err(), "it is of a lease that is alive")
		require.Equal(t, []string{"granted"}, p.heard())
		require.NotEqual(t, before, p.lease(t))
		unlock(t, h)
	})
}

func TestAnEntryThatLingersIsNotTakenAtTheDeadline(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		for range 20 { // who comes first at one instant is open
			p := newParty(t, s)
			m := p.mutex(t, lock.WithLinger(time.Minute))
			l, err := p.session.Lease(t.Context())
			require.NoError(t, err)
			unlock(t, take(t, m))
			p.cut.Cut()
			vtime.Sleep(time.Until(l.Deadline()))
			done := soon(anHour(t), m.Lock)
			p.cut.Heal()
			h := granted(t, done)
			require.Equal(t, []string{"granted", "released", "granted"}, p.heard())
			unlock(t, h)
			vtime.Advance(time.Second)
			require.NoError(t, p.session.Close(t.Context()))
		}
	})
}

// behindTheTimes is a network that answers the reads of a client that ask no quorum as
// a member would that was cut off from its peers at some revision.
type behindTheTimes struct {
	mu      sync.Mutex
	at      int64 // 0 while the member is up to date
	answers int
}

func (b *behindTheTimes) isolate(at int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = at
}

func (b *behindTheTimes) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answers
}

// past returns what a request reads at the revision at which the member stands, nil if that
// is up to date or asked for a read through a quorum.
func (b *behindTheTimes) past(req any) *pb.TxnRequest {
	b.mu.Lock()
	defer b.mu.Unlock()
	txn, ok := req.(*pb.TxnRequest)
	if !ok || b.at == 0 || len(txn.Compare) > 0 {
		return nil
	}
	txn = proto.CloneOf(txn)
	for _, op := range txn.Success {
		r := op.GetRequestRange()
		if r == nil || !r.Serializable {
			return nil
		}
		r.Revision = b.at
	}
	b.answers++
	return txn
}

func (b *behindTheTimes) option() etcdtest.ClientOption {
	return etcdtest.WithDialOptions(grpc.WithChainUnaryInterceptor(func(
		ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
	) error {
		past := b.past(req)
		resp, ok := reply.(*pb.TxnResponse)
		if past == nil || !ok {
			return invoke(ctx, method, req, reply, cc, opts...)
		}
		err := invoke(ctx, method, past, reply, cc, opts...)
		if err == nil {
			resp.Header.Revision = past.Success[0].GetRequestRange().Revision
		}
		return err
	}))
}

func TestAWaiterKeepsItsPlaceBehindTheTimes(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "lock"
	member := &behindTheTimes{}
	holder, second, waiter := newPeer(t, c), newPeer(t, c), newPeer(t, c, withClient(member.option()))
	h := holder.lock(t, name)
	ctx, leave := context.WithCancel(guarded(t))
	left, _ := second.queueUp(ctx, t, name)
	before := revision(t, holder.Client)
	done, e := waiter.queueUp(guarded(t), t, name)
	member.isolate(before)
	leave() // so that the waiter looks who is before it now
	require.ErrorIs(t, await(t, left, "the second leaves").err, context.Canceled)
	eventually(t, func() bool { return member.count() > 0 }, "the member that lags behind is asked")
	unlock(t, h)
	got := granted(t, done)
	require.Equal(t, e.Revision, got.Token().Revision(), "it has kept its place")
	member.isolate(0)
	unlock(t, got)
	for _, call := range waiter.Rec.Calls() {
		if txn, ok := call.Request.(*pb.TxnRequest); ok && call.IsWrite() {
			for _, op := range txn.Success {
				require.False(t, op.GetRequestPut() != nil && !bytes.Equal(op.GetRequestPut().Key, []byte(e.Key)))
			}
		}
	}
}

// The check that follows an event is as new as that: on a member that lags behind, the entry
// that has gone would be found again, and again.
func TestAWaiterIsNotToldAgainOfAnEntryThatHasGone(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "lock"
	member := &behindTheTimes{}
	holder, second, waiter := newPeer(t, c), newPeer(t, c), newPeer(t, c, withClient(member.option()))
	h := holder.lock(t, name)
	ctx, leave := context.WithCancel(guarded(t))
	left, _ := second.queueUp(ctx, t, name)
	done, e := waiter.queueUp(guarded(t), t, name)
	waiter.Rec.Reset()
	member.isolate(revision(t, holder.Client))
	leave()
	require.ErrorIs(t, await(t, left, "the second leaves").err, context.Canceled)
	const most = 10
	eventually(t, func() bool { return member.count() > 0 }, "the member that lags behind is asked")
	pause(t.Context(), aBit) // in which it would go round and round
	require.LessOrEqual(t, len(waiter.Watches()), most)
	stillWaits(t, done)
	unlock(t, h)
	got := granted(t, done)
	require.Equal(t, e.Revision, got.Token().Revision(), "it has kept its place")
	member.isolate(0)
	unlock(t, got)
}
