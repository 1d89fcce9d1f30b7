package lock_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// openStreams counts the watch streams that a server has.
type openStreams struct{ now atomic.Int64 }

func (o *openStreams) option() vtime.Option {
	return vtime.WithServerOptions(grpc.StreamInterceptor(
		func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			if info.FullMethod == "/etcdserverpb.Watch/Watch" {
				o.now.Add(1)
				defer o.now.Add(-1)
			}
			return handle(srv, ss)
		}))
}

// Waiters give up at any moment of opening their watch, and streams are abandoned, on a network that takes its time.
func TestNoWatchStreamOutlivesItsLastWatch(t *testing.T) {
	t.Parallel()
	for seed := range suite.Long(uint64(1), 3) {
		var open openStreams
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			rec := &etcdtest.Recorder{Forget: true}
			client := s.Client(vtime.WithDialOptions(rec.DialOptions()...), vtime.WithDrag(vtime.NewDrag(seed, mostDrag)))
			session, err := lease.NewSession(t.Context(), client, lease.WithTTL(2*time.Second))
			require.NoError(t, err)
			mutex, err := lock.NewMutex(session, "lock")
			require.NoError(t, err)
			hold, err := mutex.Lock(anHour(t))
			require.NoError(t, err)

			draw := rand.New(rand.NewPCG(seed, 1))
			for range 40 {
				var wg sync.WaitGroup
				for range 1 + draw.IntN(3) {
					within := time.Duration(draw.IntN(500)) * time.Millisecond
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), within)
						defer cancel()
						if h, err := mutex.Lock(ctx); err == nil {
							_ = h.Unlock(ctx)
						}
					})
				}
				switch draw.IntN(4) {
				case 0: // a stream that swallows what is sent on it, for long enough to be abandoned
					release := rec.Stall("Watch")
					vtime.Sleep(time.Second)
					release()
				case 1: // the lease ends
					l, err := session.Lease(t.Context())
					require.NoError(t, err)
					_, _ = client.Revoke(t.Context(), l.ID()) // unless it has just ended
				}
				wg.Wait()
			}
			vtime.Sleep(10 * time.Second)
			require.LessOrEqual(t, rec.Open("Watch"), 1, "the idle one")
			require.LessOrEqual(t, open.now.Load(), int64(1))
			_ = hold.Unlock(t.Context())
			require.NoError(t, session.Close(t.Context()))
			vtime.Sleep(time.Second)
			synctest.Wait()
			require.Zero(t, rec.Open("Watch"))
			require.Zero(t, open.now.Load())
		}, open.option())
	}
}
