package lease_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// The next attempt reaches another member.
func TestClosingWithADoneContextSucceedsAlthoughTheFirstMemberAskedRefusesOrHasVanished(t *testing.T) {
	t.Parallel()
	members := map[string]func(context.Context) error{
		"no leader":    func(context.Context) error { return rpctypes.ErrGRPCNoLeader },
		"restarts":     func(context.Context) error { return status.Error(codes.Unavailable, "error reading from server: EOF") },
		"has vanished": func(ctx context.Context) error { <-ctx.Done(); return status.FromContextError(ctx.Err()).Err() },
	}
	closings := map[string]struct {
		method string
		close  func(*lease.Session, *lease.Lease, *lease.Registration) func(context.Context) error
	}{
		"session": {"LeaseRevoke", func(s *lease.Session, _ *lease.Lease, _ *lease.Registration) func(context.Context) error {
			return s.Close
		}},
		"lease": {"LeaseRevoke", func(_ *lease.Session, l *lease.Lease, _ *lease.Registration) func(context.Context) error {
			return l.Close
		}},
		"registration": {"Txn", func(_ *lease.Session, _ *lease.Lease, r *lease.Registration) func(context.Context) error {
			return r.Close
		}},
	}
	for member, fails := range members {
		for what, closing := range closings {
			t.Run(what+", "+member, func(t *testing.T) {
				t.Parallel()
				vtime.Run(t, func(t *testing.T, s *vtime.Server) {
					var rec etcdtest.Recorder
					session, err := lease.NewSession(t.Context(), s.Client(vtime.WithDialOptions(rec.DialOptions()...)), lease.WithTTL(30*time.Second))
					require.NoError(t, err)
					r, err := lease.Register(t.Context(), session, "key", "value")
					require.NoError(t, err)
					l, err := session.Lease(t.Context())
					require.NoError(t, err)
					var first atomic.Bool
					rec.Hook(closing.method, func(ctx context.Context, _ any, invoke func() error) error {
						if !first.Swap(true) {
							return fails(ctx)
						}
						return invoke()
					})
					began := time.Now()
					require.NoError(t, closing.close(session, l, r)(ended(t)))
					require.True(t, first.Load())
					require.Less(t, time.Since(began), lease.DefaultGrace)
					got, err := s.Client().Get(t.Context(), "key")
					require.NoError(t, err)
					require.True(t, len(got.Kvs) == 0 || got.Kvs[0].Lease != int64(l.ID()), "handed over")
					require.NoError(t, session.Close(t.Context()))
				})
			})
		}
	}
}
