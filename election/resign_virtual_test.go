package election_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// The next attempt reaches another member.
func TestRunHandsOverAlthoughTheFirstMemberAskedRefusesOrHasVanished(t *testing.T) {
	t.Parallel()
	for member, fails := range map[string]func(context.Context) error{
		"no leader":    func(context.Context) error { return rpctypes.ErrGRPCNoLeader },
		"restarts":     func(context.Context) error { return status.Error(codes.Unavailable, "error reading from server: EOF") },
		"has vanished": func(ctx context.Context) error { <-ctx.Done(); return status.FromContextError(ctx.Err()).Err() },
	} {
		t.Run(member, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				var rec etcdtest.Recorder
				e := newVirtualElection(t, s.Client(vtime.WithDialOptions(rec.DialOptions()...)), 20*time.Second)
				ctx, cancel := context.WithCancel(anHour(t))
				var first atomic.Bool
				var done time.Time
				_ = e.Run(ctx, "a", func(context.Context, *election.Term) error {
					rec.Hook("Txn", func(ctx context.Context, _ any, invoke func() error) error {
						if !first.Swap(true) {
							return fails(ctx)
						}
						return invoke()
					})
					done = time.Now()
					cancel()
					return nil
				})
				require.True(t, first.Load())
				require.Less(t, time.Since(done), lease.DefaultGrace)
				requireCandidates(t, s)
			})
		})
	}
}
