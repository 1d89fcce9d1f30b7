package lock_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// mostDrag is the most that one message takes in a dragging network.
const mostDrag = 50 * time.Millisecond

// cutWays are the ways in which a client can be cut off.
var cutWays = peertest.CutWays()

// lateTxn holds back, on the server, the next transactions that put something, and then handles them although their
// callers have given up: what a slow member does.
type lateTxn struct {
	mu     sync.Mutex
	delays []time.Duration // of the next ones
}

func (l *lateTxn) delayNext(delays ...time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delays = delays
}

func (l *lateTxn) next() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.delays) == 0 {
		return 0
	}
	d := l.delays[0]
	l.delays = l.delays[1:]
	return d
}

func (l *lateTxn) option() vtime.Option {
	return vtime.WithServerOptions(grpc.UnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			if txn, ok := req.(*pb.TxnRequest); ok && putsSomething(txn) {
				if d := l.next(); d > 0 {
					vtime.Sleep(d)
					ctx = context.WithoutCancel(ctx)
				}
			}
			return handle(ctx, req)
		}))
}

func putsSomething(txn *pb.TxnRequest) bool {
	return slices.ContainsFunc(slices.Concat(txn.Success, txn.Failure), func(op *pb.RequestOp) bool {
		nested := op.GetRequestTxn()
		return op.GetRequestPut() != nil || nested != nil && putsSomething(nested)
	})
}

func TestAnEnqueueThatArrivesAfterItsCallerGaveUpBlocksForARoundAtMost(t *testing.T) {
	t.Parallel()
	const ttl = 10 * time.Second
	for name, delays := range map[string][]time.Duration{
		"while the caller cleans up": {2 * time.Second},
		"soon after":                 {5 * time.Second},
		"long after":                 {101 * time.Second},
		"more than one attempt":      {20 * time.Second, 30 * time.Second, 55 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var late lateTxn
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				gaveUp := newVirtualMutex(t, s.Client(vtime.WithDrag(vtime.NewDrag(1, mostDrag))), ttl)
				next := newVirtualMutex(t, s.Client(vtime.WithDrag(vtime.NewDrag(2, mostDrag))), ttl)
				began := time.Now()
				late.delayNext(delays...)
				caller, cancel := context.WithTimeout(t.Context(), time.Duration(len(delays))*ttl/6-time.Second/2)
				defer cancel()
				_, err := gaveUp.Lock(caller)
				require.ErrorIs(t, err, context.DeadlineExceeded)

				for i, d := range delays {
					vtime.Sleep(time.Until(began.Add(d + time.Duration(i)*ttl/6 + 10*mostDrag))) // it has arrived
					arrived := time.Now()
					hold, err := next.Lock(anHour(t))
					require.NoError(t, err)
					t.Logf("granted %v after the arrival", time.Since(arrived))
					require.LessOrEqual(t, time.Since(arrived), ttl/3+10*mostDrag)
					require.NoError(t, hold.Unlock(t.Context()))
				}
				vtime.Advance(ttl)
				requireEntries(t, s, 0)
				// A late put takes effect and is deleted, or is refused: its lease was replaced
				// because it carried nothing but keys in doubt.
				revisions := s.Etcd().KV().Rev()
				require.GreaterOrEqual(t, revisions, int64(1+2*len(delays)))
				require.LessOrEqual(t, revisions, int64(1+2*2*len(delays)))

				// The one who gave up is none the worse.
				hold, err := gaveUp.Lock(anHour(t))
				require.NoError(t, err)
				require.NoError(t, hold.Unlock(t.Context()))
				requireEntries(t, s, 0)
			}, late.option())
		})
	}
}

// deaf is a client's watch streams, of which the first is on a member that vanishes: once silent, the first delivers no events.
type deaf struct {
	silent  atomic.Bool
	opened  atomic.Int64
	dropped atomic.Int64
}

func (d *deaf) option() vtime.ClientOption {
	return vtime.WithDialOptions(grpc.WithChainStreamInterceptor(
		func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			stream, err := open(ctx, desc, cc, method, opts...)
			if err != nil || method != pb.Watch_Watch_FullMethodName {
				return stream, err
			}
			return deafStream{stream, d, d.opened.Add(1) == 1}, nil
		}))
}

type deafStream struct {
	grpc.ClientStream
	*deaf
	first bool
}

func (s deafStream) RecvMsg(m any) error {
	for {
		if err := s.ClientStream.RecvMsg(m); err != nil {
			return err
		}
		resp, ok := m.(*pb.WatchResponse)
		if !ok || !s.first || !s.silent.Load() || len(resp.Events) == 0 {
			return nil
		}
		s.dropped.Add(1)
	}
}

func TestAWatchThatDeliversNothingIsMadeUpForByTheLook(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{time.Second, 10 * time.Second, 60 * time.Second} {
		t.Run(ttl.String(), func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				var d deaf
				holder := newVirtualMutex(t, s.Client(), ttl)
				first, err := holder.Lock(anHour(t))
				require.NoError(t, err)
				second := lockSoonVirtually(t, holder)
				synctest.Wait()
				third := lockSoonVirtually(t, newVirtualMutex(t, s.Client(d.option()), ttl))
				synctest.Wait()
				requireEntries(t, s, 3)

				d.silent.Store(true)
				began := time.Now()
				require.NoError(t, first.Unlock(t.Context()))
				turn := <-second
				require.NoError(t, turn.err)
				require.Zero(t, time.Since(began), "another client's watch is none the worse")
				vtime.Sleep(ttl / 7)
				began = time.Now()
				require.NoError(t, turn.hold.Unlock(t.Context()))
				got := <-third
				require.NoError(t, got.err)
				t.Logf("granted after %v", time.Since(began))
				require.Equal(t, int64(2), d.dropped.Load(), "the ends of both before it were swallowed")
				require.LessOrEqual(t, time.Since(began), ttl/3)

				// What waits from now on does so on another stream.
				require.NoError(t, got.hold.Unlock(t.Context()))
				again, err := holder.Lock(anHour(t))
				require.NoError(t, err)
				fourth := lockSoonVirtually(t, got.mutex)
				synctest.Wait()
				began = time.Now()
				require.NoError(t, again.Unlock(t.Context()))
				last := <-fourth
				require.NoError(t, last.err)
				require.Zero(t, time.Since(began), "woken by its event")
				require.Equal(t, int64(2), d.opened.Load())
			})
		})
	}
}

func TestCancelledLocksLeaveNoKeyBehindAfterAPartition(t *testing.T) {
	t.Parallel()
	const ttl = 5 * time.Second
	partitions, left := suite.Long(uint64(18), 50), 0
	for seed := range partitions {
		draw := rand.New(rand.NewPCG(seed, 2))
		upTo := func(d time.Duration) time.Duration { return time.Duration(draw.Int64N(int64(d))) }
		way := cutWays[seed%uint64(len(cutWays))]
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			hold, err := newVirtualMutex(t, s.Client(), ttl).Lock(anHour(t))
			require.NoError(t, err)
			client, cut := s.CutClient(vtime.WithDrag(vtime.NewDrag(seed, mostDrag)))
			m := newVirtualMutex(t, client, ttl)
			ctx, cancel := context.WithCancel(anHour(t))
			var cancelled time.Time
			// Before the cut, during it, and before or after it cost the lease.
			time.AfterFunc(upTo(2*ttl), func() {
				cancelled = time.Now()
				cancel()
			})
			time.AfterFunc(upTo(4*mostDrag), func() { way.Cut(cut) }) // around the enqueue
			waiting := lockSoonVirtually(t, m, ctx)
			require.ErrorIs(t, (<-waiting).err, context.Canceled)
			require.Equal(t, cancelled, time.Now(), "seed %d: Lock returns at once", seed)
			vtime.Advance(upTo(ttl))
			left += len(entries(t, s)) - 1
			cut.Heal()
			vtime.Advance(2*ttl + time.Second)
			requireEntries(t, s, 1)
			require.NoError(t, hold.Err())

			require.NoError(t, hold.Unlock(t.Context()))
			again, err := m.Lock(anHour(t))
			require.NoError(t, err, "seed %d", seed)
			require.NoError(t, again.Unlock(t.Context()))
			requireEntries(t, s, 0)
		})
	}
	t.Logf("%d of %d had left a key when the network healed", left, partitions)
	require.Positive(t, left)
}

func TestUnlockDuringAPartitionReturnsAtOnceAndIsFinishedAfterIt(t *testing.T) {
	t.Parallel()
	const ttl = 10 * time.Second
	for _, way := range cutWays {
		for name, outage := range map[string]time.Duration{"short": ttl / 3, "long": 3 * ttl} {
			t.Run(way.Name+" "+name, func(t *testing.T) {
				t.Parallel()
				vtime.Run(t, func(t *testing.T, s *vtime.Server) {
					client, cut := s.CutClient()
					hold, err := newVirtualMutex(t, client, ttl).Lock(anHour(t))
					require.NoError(t, err)
					waiting := lockSoonVirtually(t, newVirtualMutex(t, s.Client(), ttl))
					vtime.Advance(ttl)
					way.Cut(cut)
					began := time.Now()
					time.AfterFunc(outage, cut.Heal)
					done, cancel := context.WithCancel(t.Context())
					cancel()
					require.ErrorIs(t, hold.Unlock(done), context.Canceled)
					require.Equal(t, began, time.Now())
					require.ErrorIs(t, hold.Err(), lock.ErrReleased)
					require.False(t, hold.Deadline().After(began))

					next := <-waiting
					require.NoError(t, next.err)
					t.Logf("granted after %v", time.Since(began))
					require.LessOrEqual(t, time.Since(began), min(outage+ttl/3, ttl+time.Second))
					requireEntries(t, s, 1)
					require.NoError(t, next.hold.Unlock(t.Context()))
					vtime.Advance(2 * ttl)
					requireEntries(t, s, 0)
				})
			})
		}
	}
}

func TestUnlockWaitsInAPartitionForNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		hold, err := newVirtualMutex(t, client, 10*time.Second).Lock(anHour(t))
		require.NoError(t, err)
		cut.Cut()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		require.ErrorIs(t, hold.Unlock(ctx), context.DeadlineExceeded)
		require.Equal(t, 2*time.Second, time.Since(began))
		vtime.Advance(time.Second)
		cut.Heal()
		require.NoError(t, hold.Unlock(t.Context()), "waits again, and is told")
		requireEntries(t, s, 0)
	})
}

// anHour is a context that ends a test that would wait for ever, and spin in virtual time.
func anHour(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	t.Cleanup(cancel)
	return ctx
}

// newVirtualMutex returns the mutex of the name that all tests in virtual time use, for a session of its own.
func newVirtualMutex(t *testing.T, client *clientv3.Client, ttl time.Duration) *lock.Mutex {
	t.Helper()
	session, err := lease.NewSession(t.Context(), client, lease.WithTTL(ttl))
	require.NoError(t, err)
	t.Cleanup(func() {
		done, cancel := context.WithCancel(context.Background())
		cancel()
		_ = session.Close(done) // a session that is cut off would take its TTL; Run closes the client
	})
	m, err := lock.NewMutex(session, "lock")
	require.NoError(t, err)
	return m
}

// attempted is how a Lock came out.
type attempted struct {
	mutex *lock.Mutex
	hold  *lock.Hold
	err   error
}

func lockSoonVirtually(t *testing.T, m *lock.Mutex, ctxs ...context.Context) <-chan attempted {
	t.Helper()
	ctx := anHour(t)
	if len(ctxs) > 0 {
		ctx = ctxs[0]
	}
	done := make(chan attempted, 1)
	go func() {
		hold, err := m.Lock(ctx)
		done <- attempted{m, hold, err}
	}()
	return done
}

// entries returns the queue, as a client that is not cut off sees it.
func entries(t *testing.T, s *vtime.Server) []lock.Entry {
	t.Helper()
	client := s.Client()
	all, err := lock.Inspect(t.Context(), client, "lock")
	require.NoError(t, err)
	require.NoError(t, client.Close())
	return all
}

func requireEntries(t *testing.T, s *vtime.Server, n int) {
	t.Helper()
	require.Len(t, entries(t, s), n)
}
