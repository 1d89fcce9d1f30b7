package lease_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// states notes the states of leases as an observer is told of them.
type states struct {
	mu  sync.Mutex
	all []string
}

func (s *states) observer() lease.Observer {
	return lease.Observer{Changed: func(l *lease.Lease, state lease.State) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all = append(s.all, state.String())
		if state == lease.Healthy && l.State() != lease.Healthy {
			s.all = append(s.all, "told late")
		}
	}}
}

func (s *states) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.all...)
}

const observedTTL = 9 * time.Second

func TestTheObserverHearsOfEachStateFromTheGrantOn(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		var told states
		var listened []lease.State
		session, err := lease.NewSession(t.Context(), client, lease.WithTTL(observedTTL), lease.WithObserver(told.observer()),
			lease.WithStateListener(func(_ *lease.Lease, s lease.State) { listened = append(listened, s) }))
		require.NoError(t, err)
		require.Equal(t, lease.Healthy, session.State())
		l, err := session.Lease(t.Context())
		require.NoError(t, err)
		require.Same(t, session, l.Session())
		cut.Cut()
		vtime.Advance(observedTTL / 2)
		require.Equal(t, lease.Suspended, session.State())
		require.Equal(t, observedTTL/2, l.SinceRenewal().Truncate(time.Millisecond))
		cut.Heal()
		vtime.Advance(observedTTL)
		require.Equal(t, lease.Healthy, session.State())
		require.Less(t, l.SinceRenewal(), observedTTL/2)
		cut.Cut()
		vtime.Advance(observedTTL)
		require.Equal(t, lease.Lost, session.State())
		cut.Heal()
		_, err = session.Lease(t.Context())
		require.NoError(t, err)
		require.Equal(t, lease.Healthy, session.State())
		require.NoError(t, session.Close(t.Context()))
		require.Equal(t, lease.Closed, session.State())
		require.Equal(t, []string{"healthy", "suspended", "healthy", "suspended", "lost", "healthy", "closed"}, told.heard())
		require.Equal(t, []lease.State{lease.Suspended, lease.Healthy, lease.Suspended, lease.Lost, lease.Closed}, listened)
	})
}

func TestALeaseOfItsOwnHasNoSessionAndIsToldOf(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var told states
		l, err := lease.Grant(t.Context(), s.Client(), lease.WithTTL(observedTTL), lease.WithObserver(told.observer()))
		require.NoError(t, err)
		require.Nil(t, l.Session())
		require.Equal(t, []string{"healthy"}, told.heard())
		require.NoError(t, l.Close(t.Context()))
		require.Equal(t, []string{"healthy", "closed"}, told.heard())
	})
}

// A session whose client is closed has no lease again.
func TestASessionIsClosedWithItsClient(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		session, err := lease.NewSession(t.Context(), client, lease.WithTTL(observedTTL))
		require.NoError(t, err)
		require.NoError(t, client.Close())
		require.Equal(t, lease.Closed, session.State())
		require.NoError(t, session.Close(t.Context()))
	})
}

func TestEveryObserverIsCalledInTheOrderOfTheOptions(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var mu sync.Mutex
		var told []string
		observer := func(name string) lease.Observer {
			note := func(what string) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, what+" "+name)
			}
			return lease.Observer{
				Renewed: func(*lease.Lease, time.Duration) { note("renewed") },
				Lost:    func(*lease.Lease, error) { note("lost") },
			}
		}
		client := s.Client()
		l, err := lease.Grant(t.Context(), client, lease.WithTTL(observedTTL), lease.WithObserver(observer("a")),
			lease.WithObserver(lease.Observer{}), lease.WithObserver(observer("b")))
		require.NoError(t, err)
		vtime.Advance(observedTTL / 2)
		_, err = client.Revoke(t.Context(), l.ID())
		require.NoError(t, err)
		vtime.Advance(observedTTL)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, []string{"renewed a", "renewed b", "lost a", "lost b"}, told)
	})
}

func TestLossesAreOfAFewKinds(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		lose func(t *testing.T, client *clientv3.Client, cut *vtime.Cut, l *lease.Lease)
		want lease.Reason
	}{
		"cut off": {func(_ *testing.T, _ *clientv3.Client, cut *vtime.Cut, _ *lease.Lease) { cut.Cut() }, lease.ReasonDeadline},
		"revoked": {func(t *testing.T, client *clientv3.Client, _ *vtime.Cut, l *lease.Lease) {
			t.Helper()
			_, err := client.Revoke(t.Context(), l.ID())
			require.NoError(t, err)
		}, lease.ReasonRevoked},
		"client closed": {func(t *testing.T, client *clientv3.Client, _ *vtime.Cut, _ *lease.Lease) {
			t.Helper()
			require.NoError(t, client.Close())
		}, lease.ReasonClosed},
	}
	for what, c := range cases {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				client, cut := s.CutClient()
				lost := make(chan error, 2)
				l, err := lease.Grant(t.Context(), client, lease.WithTTL(observedTTL),
					lease.WithObserver(lease.Observer{Lost: func(_ *lease.Lease, cause error) { lost <- cause }}))
				require.NoError(t, err)
				c.lose(t, client, cut, l)
				vtime.Advance(2 * observedTTL)
				require.Equal(t, c.want, lease.ReasonOf(<-lost))
				require.Empty(t, lost)
			})
		})
	}
}

func TestReasonsOfErrors(t *testing.T) {
	t.Parallel()
	for want, err := range map[lease.Reason]error{
		lease.ReasonNone:     nil,
		lease.ReasonCanceled: fmt.Errorf("x: %w (last attempt: %w)", context.Canceled, rpctypes.ErrNoLeader),
		lease.ReasonTimeout:  fmt.Errorf("x: %w", context.DeadlineExceeded),
		lease.ReasonClosed:   fmt.Errorf("x: %w: %w", context.Canceled, lease.ErrClosed),
		lease.ReasonRefused:  fmt.Errorf("x: %w", rpctypes.ErrPermissionDenied),
		lease.ReasonOther:    errors.New("x"),
	} {
		require.Equal(t, want, lease.ReasonOf(err), "%v", err)
	}
	words := make(map[string]bool)
	for r := lease.ReasonNone; r <= lease.ReasonOther; r++ {
		words[r.String()] = true
	}
	require.Len(t, words, int(lease.ReasonOther)+1)
	require.Equal(t, "Reason(99)", lease.Reason(99).String())
	require.Equal(t, "Via(99)", lease.Via(99).String())
}

func TestDoubtsAreCounted(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		l, err := lease.Grant(t.Context(), s.Client(), lease.WithTTL(observedTTL))
		require.NoError(t, err)
		require.Zero(t, l.Doubts())
		inside.Keys(l).Suspect("key", 1)
		require.Equal(t, 1, l.Doubts())
		inside.Keys(l).Reclaim("key")
		require.Zero(t, l.Doubts())
		require.NoError(t, l.Close(t.Context()))
	})
}

// A session with several leases is as well as the best of them.
func TestTheStateOfASessionIsThatOfItsBestLease(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		session, err := lease.NewSession(t.Context(), s.Client(), lease.WithTTL(observedTTL))
		require.NoError(t, err)
		first, err := inside.Of(session).Roomy(t.Context())
		require.NoError(t, err)
		for range 256 {
			inside.Keys(first).Reserve(func(n int) string { return fmt.Sprint(n) })
		}
		second, err := inside.Of(session).Roomy(t.Context())
		require.NoError(t, err)
		require.NotSame(t, first, second)
		require.NoError(t, second.Close(t.Context()))
		require.Equal(t, lease.Healthy, session.State())
		require.NoError(t, session.Close(t.Context()))
	})
}
