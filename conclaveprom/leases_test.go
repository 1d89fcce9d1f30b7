package conclaveprom_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

const ttl = 9 * time.Second

func TestSessionsAndLeasesAreCountedByState(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		metrics := newMetrics(t)
		sessions := func(healthy, suspended, lost float64) {
			t.Helper()
			require.Equal(t, map[string]float64{"healthy": healthy, "suspended": suspended, "lost": lost}, values(t, metrics, "conclave_sessions"))
		}
		sessions(0, 0, 0)
		require.Empty(t, values(t, metrics, "conclave_lease_renewal_age_seconds"), "nothing to be renewed")
		client, cut := s.CutClient()
		first, err := lease.NewSession(t.Context(), client, lease.WithTTL(ttl), lease.WithObserver(metrics.Lease()))
		require.NoError(t, err)
		second, err := lease.NewSession(t.Context(), s.Client(), lease.WithTTL(ttl), lease.WithObserver(metrics.Lease()))
		require.NoError(t, err)
		sessions(2, 0, 0)
		cut.Cut()
		vtime.Advance(ttl / 2)
		sessions(1, 1, 0)
		require.Equal(t, map[string]float64{"healthy": 1, "suspended": 1}, values(t, metrics, "conclave_leases"))
		require.InDelta(t, (ttl / 2).Seconds(), values(t, metrics, "conclave_lease_renewal_age_seconds")[""], .01)
		vtime.Advance(ttl)
		sessions(1, 0, 1)
		require.Equal(t, map[string]float64{"healthy": 1, "suspended": 0}, values(t, metrics, "conclave_leases"))
		require.Less(t, values(t, metrics, "conclave_lease_renewal_age_seconds")[""], ttl.Seconds()/2)
		require.Equal(t, map[string]float64{"deadline": 1}, positive(t, metrics, "conclave_leases_lost_total"))
		require.Positive(t, values(t, metrics, "conclave_lease_renewal_seconds")[""])
		cut.Heal()
		l, err := first.Lease(t.Context())
		require.NoError(t, err)
		sessions(2, 0, 0)
		inside.Keys(l).Suspect("key", 1)
		require.EqualValues(t, 1, values(t, metrics, "conclave_doubtful_keys")[""])
		require.NoError(t, second.Close(t.Context()))
		require.NoError(t, first.Close(t.Context()))
		sessions(0, 0, 0)
		require.EqualValues(t, 2, values(t, metrics, "conclave_sessions_closed_total")[""])
		require.Zero(t, values(t, metrics, "conclave_doubtful_keys")[""])
	})
}

// A session without a lease tells nothing when it is closed.
func TestASessionThatIsClosedAfterALossIsForgotten(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		metrics := newMetrics(t)
		client, cut := s.CutClient()
		session, err := lease.NewSession(t.Context(), client, lease.WithTTL(ttl), lease.WithObserver(metrics.Lease()))
		require.NoError(t, err)
		cut.Cut()
		vtime.Advance(2 * ttl)
		cut.Heal()
		require.NoError(t, session.Close(t.Context()))
		require.EqualValues(t, 0, values(t, metrics, "conclave_sessions")["lost"])
		require.EqualValues(t, 1, values(t, metrics, "conclave_sessions_closed_total")[""])
	})
}

// Each lease of a session tells of its end, and somebody may look in between.
func TestASessionThatIsClosedCountsOnce(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		metrics := newMetrics(t)
		observer := metrics.Lease()
		changed := observer.Changed
		observer.Changed = func(l *lease.Lease, state lease.State) {
			if state == lease.Closed {
				values(t, metrics, "conclave_sessions")
			}
			changed(l, state)
		}
		for n := 1.; n <= 3; n++ {
			session, err := lease.NewSession(t.Context(), s.Client(), lease.WithTTL(ttl), lease.WithObserver(observer))
			require.NoError(t, err)
			first, err := inside.Of(session).Roomy(t.Context())
			require.NoError(t, err)
			for range 256 { // as many as another lease is granted for
				inside.Keys(first).Reserve(func(n int) string { return fmt.Sprint(n) })
			}
			second, err := inside.Of(session).Roomy(t.Context())
			require.NoError(t, err)
			require.NotSame(t, first, second)
			require.NoError(t, session.Close(t.Context()))
			require.Equal(t, n, values(t, metrics, "conclave_sessions_closed_total")[""])
		}
	})
}
