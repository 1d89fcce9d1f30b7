package queue_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// slow lets the first transaction that begins with such an operation reach the store late, even
// if it is cancelled.
func slow(late time.Duration, such func(*pb.RequestOp) bool) grpc.UnaryServerInterceptor {
	var met atomic.Bool
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if txn, ok := req.(*pb.TxnRequest); ok && len(txn.Success) > 0 && such(txn.Success[0]) && !met.Swap(true) {
			vtime.Sleep(late)
			ctx = context.WithoutCancel(ctx)
		}
		return handle(ctx, req)
	}
}

func isPut(op *pb.RequestOp) bool    { return op.GetRequestPut() != nil }
func isDelete(op *pb.RequestOp) bool { return op.GetRequestDeleteRange() != nil }

// A put that was cancelled on its way is overtaken by its own removal: nobody waits for the next
// look until it has gone.
func TestAPutThatComesJustAfterItsRemovalIsRemoved(t *testing.T) {
	t.Parallel()
	const late = 30 * time.Millisecond
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		session, err := lease.NewSession(t.Context(), client, lease.WithTTL(time.Minute))
		require.NoError(t, err)
		giveUp(t, exclusive(&peertest.Peer{Session: session}, "a"), late/3)
		vtime.Advance(late)
		require.EqualValues(t, 1, left(t, client), "it has come")
		vtime.Advance(100 * time.Millisecond) // no look is due
		require.Zero(t, left(t, client))
		require.NoError(t, session.Close(t.Context()))
	}, vtime.WithServerOptions(grpc.UnaryInterceptor(slow(late, isPut))))
}

// An entry without a nonce is removed by its value. A look may find it in the meantime, but its
// key is not free before its removal is over, which would remove the key's next entry.
func TestARemovalByValueDoesNotMeetTheNextEntryOfTheKey(t *testing.T) {
	t.Parallel()
	const ttl, late, look = 3 * time.Second, 30 * time.Millisecond, 40 * time.Millisecond
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		session, err := lease.NewSession(t.Context(), client, lease.WithTTL(ttl))
		require.NoError(t, err)
		_, err = session.Lease(t.Context())
		require.NoError(t, err)
		vtime.Advance(ttl/3 - look)
		q := exclusive(&peertest.Peer{Session: session}, "a")
		q.Raw = true
		giveUp(t, q, late/3)
		vtime.Advance(look - late/3 + time.Millisecond)
		require.Zero(t, left(t, client), "a look has removed it")
		g, err := q.Acquire(t.Context())
		require.NoError(t, err)
		vtime.Advance(100 * time.Millisecond)
		require.EqualValues(t, 1, left(t, client))
		require.NoError(t, g.Release(t.Context()))
		require.NoError(t, session.Close(t.Context()))
	}, vtime.WithServerOptions(grpc.UnaryInterceptor(slow(late, isPut))))
}

// The same of a removal without an answer, which may come at any time.
func TestARemovalByValueThatComesLateDoesNotMeetTheNextEntryOfTheKey(t *testing.T) {
	t.Parallel()
	const late, later = 30 * time.Millisecond, 20 * time.Second
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		session, err := lease.NewSession(t.Context(), client, lease.WithTTL(time.Minute))
		require.NoError(t, err)
		q := exclusive(&peertest.Peer{Session: session}, "a")
		q.Raw = true
		giveUp(t, q, late/3)
		for vtime.Advance(late); left(t, client) > 0; vtime.Advance(time.Second) { // until another removal goes out
		}
		g, err := q.Acquire(t.Context())
		require.NoError(t, err)
		vtime.Advance(later)
		require.EqualValues(t, 1, left(t, client))
		require.NoError(t, g.Release(t.Context()))
		require.NoError(t, session.Close(t.Context()))
	}, vtime.WithServerOptions(grpc.ChainUnaryInterceptor(slow(late, isPut), slow(later, isDelete))))
}

// Two removals are out side by side. The one that has found nothing is looked at first; the key
// can be used again nevertheless.
func TestAKeyIsNotInDoubtIfTheAttemptBesideHasRemovedIt(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		removed := make(chan struct{})
		var first atomic.Bool
		client := s.Client(vtime.WithDialOptions(grpc.WithUnaryInterceptor(func(
			ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption,
		) error {
			txn, ok := req.(*pb.TxnRequest)
			put, remove := ok && isPut(txn.Success[0]), ok && isDelete(txn.Success[0])
			if remove && first.Swap(true) {
				<-removed
			}
			err := call(ctx, method, req, reply, cc, opts...)
			switch {
			case put:
				<-ctx.Done()
				return ctx.Err()
			case remove && !closed(removed):
				close(removed)
				<-ctx.Done()
			}
			return err
		})))
		session, err := lease.NewSession(t.Context(), client, lease.WithTTL(time.Minute))
		require.NoError(t, err)
		l, err := session.Lease(t.Context())
		require.NoError(t, err)
		giveUp(t, exclusive(&peertest.Peer{Session: session}, "a"), time.Second)
		vtime.Advance(10 * time.Second) // another removal goes out beside the first
		require.True(t, closed(removed))
		require.Zero(t, inside.Keys(l).Doubts())
		require.NoError(t, session.Close(t.Context()))
	})
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A try finds room, which others take before it has put its entry, in a second attempt. It
// removes that; the first attempt puts the entry once more, which is not left to take up room.
func TestATryThatWasOvertakenIsNotLeftByAPutThatComesLate(t *testing.T) {
	t.Parallel()
	const late = 8 * time.Second
	var l atomic.Int64
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var overtake func()
		mine, theirs := newSession(t, s.Client(vtime.WithDialOptions(grpc.WithUnaryInterceptor(func(
			ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption,
		) error {
			err := call(ctx, method, req, reply, cc, opts...)
			if _, ok := req.(*pb.RangeRequest); ok && overtake != nil {
				overtake()
				overtake = nil
			}
			return err
		})))), newSession(t, s.Client())
		p, q := permit(mine), permit(theirs)
		under, err := mine.Lease(t.Context())
		require.NoError(t, err)
		l.Store(int64(under.ID()))
		var g *queue.Grant
		overtake = func() {
			var err error
			g, _, _, err = q.TryAcquire(t.Context())
			require.NoError(t, err)
		}
		_, _, taken, err := p.TryAcquire(t.Context())
		require.NoError(t, err)
		require.True(t, taken)
		require.Equal(t, 1, inside.Keys(under).Doubts())
		client := s.Client()
		vtime.Advance(late)
		require.EqualValues(t, 2, left(t, client), "it has come")
		vtime.Advance(time.Minute)
		require.EqualValues(t, 1, left(t, client))
		require.NoError(t, g.Release(t.Context()))
	}, vtime.WithServerOptions(grpc.UnaryInterceptor(slow(late, func(op *pb.RequestOp) bool {
		return isPut(op) && op.GetRequestPut().Lease == l.Load()
	}))))
}

// The first attempt of a try comes just after the second was refused, and the lock was given up.
func TestAPutThatComesAfterItsTryWasRefusedIsRemoved(t *testing.T) {
	t.Parallel()
	const patience, late = 5 * time.Second, 30 * time.Millisecond
	var l atomic.Int64
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		mine, theirs, client := newSession(t, s.Client()), newSession(t, s.Client()), s.Client()
		p, q := exclusive(&peertest.Peer{Session: mine}, "a"), exclusive(&peertest.Peer{Session: theirs}, "a")
		g, err := q.Acquire(t.Context())
		require.NoError(t, err)
		under, err := mine.Lease(t.Context())
		require.NoError(t, err)
		l.Store(int64(under.ID()))
		_, _, taken, err := p.TryAcquire(t.Context())
		require.NoError(t, err)
		require.True(t, taken)
		require.NoError(t, g.Release(t.Context()))
		vtime.Advance(late)
		require.EqualValues(t, 1, left(t, client), "it has come")
		vtime.Advance(100 * time.Millisecond) // no look is due
		require.Zero(t, left(t, client))
	}, vtime.WithServerOptions(grpc.UnaryInterceptor(slow(patience+late, func(op *pb.RequestOp) bool {
		return isPut(op) && op.GetRequestPut().Lease == l.Load()
	}))))
}

// The first attempt of a try was applied after the second was refused; its answer is there before
// the try is over, and is not looked at.
func TestWhatATryHasPutIsRemovedAlthoughItWasRefused(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		q := exclusive(&peertest.Peer{Session: newSession(t, s.Client())}, "a")
		g, err := q.Acquire(t.Context())
		require.NoError(t, err)
		var sent atomic.Int64
		mine := newSession(t, s.Client(vtime.WithDialOptions(grpc.WithUnaryInterceptor(func(
			ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption,
		) error {
			txn, ok := req.(*pb.TxnRequest)
			if !ok || !isPut(txn.Success[0]) || sent.Add(1) > 1 {
				return call(ctx, method, req, reply, cc, opts...)
			}
			<-ctx.Done() // the second was refused
			if err := g.Release(t.Context()); err != nil {
				t.Error(err)
			}
			return call(context.WithoutCancel(ctx), method, req, reply, cc, opts...)
		}))))
		p, client := exclusive(&peertest.Peer{Session: mine}, "a"), s.Client()
		_, _, taken, err := p.TryAcquire(t.Context())
		require.NoError(t, err)
		require.True(t, taken)
		vtime.Advance(100 * time.Millisecond) // no look is due
		require.Zero(t, left(t, client))
		g, err = p.Acquire(t.Context())
		require.NoError(t, err)
		require.NoError(t, g.Release(t.Context()))
	})
}

// A member without a leader says so before it looks at a request, which so does nothing.
func TestWhatAMemberWithoutALeaderRefusesIsNotInDoubt(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var sent atomic.Int64
		mine := newSession(t, s.Client(vtime.WithDialOptions(grpc.WithUnaryInterceptor(func(
			ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption,
		) error {
			if _, ok := req.(*pb.TxnRequest); ok && sent.Add(1)%2 == 1 {
				return rpctypes.ErrGRPCNoLeader
			}
			return call(ctx, method, req, reply, cc, opts...)
		}))))
		q, other := exclusive(&peertest.Peer{Session: mine}, "a"), exclusive(&peertest.Peer{Session: newSession(t, s.Client())}, "a")
		under, err := mine.Lease(t.Context())
		require.NoError(t, err)
		for range 20 {
			g, err := q.Acquire(t.Context())
			require.NoError(t, err)
			require.NoError(t, g.Release(t.Context()))
			g, err = other.Acquire(t.Context())
			require.NoError(t, err)
			_, _, taken, err := q.TryAcquire(t.Context())
			require.NoError(t, err)
			require.True(t, taken)
			require.NoError(t, g.Release(t.Context()))
		}
		require.Zero(t, inside.Keys(under).Doubts())
		require.GreaterOrEqual(t, sent.Load(), int64(6*20), "each was refused once")
	})
}

func newSession(t *testing.T, client *clientv3.Client) *lease.Session {
	t.Helper()
	session, err := lease.NewSession(t.Context(), client, lease.WithTTL(time.Minute))
	require.NoError(t, err)
	t.Cleanup(func() {
		done, cancel := context.WithCancel(context.Background())
		cancel()
		_ = session.Close(done) // Run closes the client
	})
	return session
}

// permit returns the queue of a semaphore of one permit.
func permit(s *lease.Session) *queue.Queue {
	q := exclusive(&peertest.Peer{Session: s}, "a")
	q.Lanes = []queue.Lane{queue.Weighted(queue.Prefix("a", "semaphore"), 1, 1)}
	return q
}

// giveUp asks for a turn, and gives that up after a time.
func giveUp(t *testing.T, q *queue.Queue, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), after)
	defer cancel()
	_, err := q.Acquire(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// left returns how many keys there are.
func left(t *testing.T, client *clientv3.Client) int64 {
	t.Helper()
	resp, err := client.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithCountOnly())
	require.NoError(t, err)
	return resp.Count
}
