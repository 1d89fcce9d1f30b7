package election_test

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

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// Candidates and observers give up at any moment of opening their watch, on a network that takes its
// time.
func TestNoWatchStreamOutlivesItsLastCandidateOrObserver(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		var open, opened atomic.Int64 // what the server has, and has had
		count := vtime.WithServerOptions(grpc.StreamInterceptor(
			func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
				if info.FullMethod == "/etcdserverpb.Watch/Watch" {
					open.Add(1)
					opened.Add(1)
					defer open.Add(-1)
				}
				return handle(srv, ss)
			}))
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			rec := &etcdtest.Recorder{Forget: true}
			client := s.Client(vtime.WithDialOptions(rec.DialOptions()...), vtime.WithDrag(vtime.NewDrag(seed, mostDrag)))
			session := newVirtualSession(t, client, 2*time.Second, lease.WithGrace(0))
			e := electionOn(t, session)
			term, err := electionOn(t, newVirtualSession(t, s.Client(), 10*time.Second)).Campaign(anHour(t), "leader")
			require.NoError(t, err)
			draw := rand.New(rand.NewPCG(seed, 1))
			for range 40 {
				var wg sync.WaitGroup
				for range 1 + draw.IntN(3) {
					stands, observes := time.Duration(draw.IntN(500))*time.Millisecond, time.Duration(draw.IntN(500))*time.Millisecond
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), stands)
						defer cancel()
						_, err := e.Campaign(ctx, "a")
						if ctx.Err() == nil {
							t.Errorf("elected beside another: %v", err)
						}
					})
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), observes)
						defer cancel()
						for l, err := range election.Observe(ctx, client, virtualName) {
							if ctx.Err() == nil && (err != nil || l.Value != "leader") {
								t.Errorf("observed %v: %v", l, err)
							}
						}
					})
				}
				if draw.IntN(4) == 0 { // a stream that swallows what is sent on it, for long enough to be abandoned
					release := rec.Stall("Watch")
					vtime.Sleep(time.Second)
					release()
				}
				wg.Wait()
			}
			vtime.Sleep(10 * time.Second)
			require.LessOrEqual(t, rec.Open("Watch"), 1, "the idle one")
			require.LessOrEqual(t, open.Load(), int64(1))
			require.NoError(t, session.Close(t.Context()))
			vtime.Sleep(time.Second)
			synctest.Wait()
			require.Zero(t, rec.Open("Watch"))
			require.Zero(t, open.Load())
			require.Greater(t, opened.Load(), int64(10))
			require.NoError(t, term.Resign(t.Context()))
		}, count)
	}
}
