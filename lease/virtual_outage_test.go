package lease_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// A client of etcd waits longer after each connection that is refused, in the end for two minutes.
func TestALeaseOutlivesAServerThatRefusesConnectionsForHalfOfItsTTL(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{20 * time.Second, 60 * time.Second, lease.MaxTTL} {
		t.Run(ttl.String(), func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				session, err := lease.NewSession(t.Context(), s.Client(), lease.WithTTL(ttl))
				require.NoError(t, err)
				l, err := session.Lease(t.Context())
				require.NoError(t, err)
				vtime.Advance(ttl - time.Second/10) // just before a renewal
				s.Stop()
				vtime.Advance(ttl / 2)
				require.Equal(t, lease.Suspended, l.State())
				s.Start()
				vtime.Advance(ttl / 6)
				require.NoError(t, l.Err())
				require.Equal(t, lease.Healthy, l.State())
				require.NoError(t, session.Close(t.Context()))
			})
		})
	}
}

func TestASessionHasALeaseSoonAfterAnOutageOfMinutes(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		session, err := lease.NewSession(t.Context(), s.Client())
		require.NoError(t, err)
		_, err = session.Lease(t.Context())
		require.NoError(t, err)
		s.Stop()
		vtime.Advance(200 * time.Second)
		s.Start()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		l, err := session.Lease(ctx)
		require.NoError(t, err)
		require.NoError(t, l.Err())
		require.NoError(t, session.Close(t.Context()))
	})
}

// The server may be back though the client has not tried to reach it again.
func TestASessionThatIsClosedWithoutTimeJustAfterAnOutageRevokesItsLease(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		session, err := lease.NewSession(t.Context(), s.Client(), lease.WithTTL(time.Minute))
		require.NoError(t, err)
		_, err = session.Lease(t.Context())
		require.NoError(t, err)
		s.Stop()
		vtime.Advance(25 * time.Second)
		s.Start()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = session.Close(ctx) // which says that ctx is done
		left, err := s.Client().Leases(t.Context())
		require.NoError(t, err)
		require.Empty(t, left.Leases)
	})
}
