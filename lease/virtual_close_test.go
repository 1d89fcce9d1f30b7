package lease_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// The next attempt reaches another member.
func TestClosingWithADoneContextSucceedsAlthoughTheFirstMemberAskedRefusesOrHasVanished(t *testing.T) {
	t.Parallel()
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
	for member, fails := range etcdtest.Setbacks() {
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
					_, called := rec.HookFirst(closing.method, fails)
					began := time.Now()
					require.NoError(t, closing.close(session, l, r)(ended(t)))
					require.True(t, called())
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
