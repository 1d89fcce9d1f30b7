package lock_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

func TestRunLocksAgainAfterALossOnceItsFunctionHasReturned(t *testing.T) {
	t.Parallel()
	eachVirtually(t, losses(), func(t *testing.T, s *vtime.Server, end func(*testing.T, *party, *lock.Hold)) {
		t.Helper()
		p := newParty(t, s)
		m := p.mutex(t)
		running, calls := 0, 0
		err := m.Run(anHour(t), func(ctx context.Context, h *lock.Hold) error {
			running++
			defer func() { running-- }()
			require.Equal(t, 1, running)
			if calls++; calls < 3 {
				end(t, p, h)
				<-ctx.Done()
				require.ErrorIs(t, h.Err(), lock.ErrLost)
				vtime.Sleep(3 * partyTTL) // it takes its time
				if calls == 1 {
					return nil
				}
				return errors.New("of no account")
			}
			return errors.New("the last word")
		})
		require.EqualError(t, err, "the last word")
		require.Equal(t, 3, calls)
		requireKeys(t, s, "lock")
	})
}

func TestRunReturnsWhatItsFunctionDoes(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		m := newParty(t, s).mutex(t)
		for _, want := range []error{nil, errors.New("why")} {
			require.Equal(t, want, m.Run(anHour(t), func(context.Context, *lock.Hold) error {
				requireKeys(t, s, "lock", storedUnder(t, s, "lock")[0])
				return want
			}))
			requireKeys(t, s, "lock")
		}
		require.Panics(t, func() { _ = m.Run(anHour(t), func(context.Context, *lock.Hold) error { panic("no") }) })
		requireKeys(t, s, "lock")
	})
}

func TestRunEndsWithItsContextAndHasGivenBackTheLockByThen(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		m := newParty(t, s).mutex(t)
		why := errors.New("why")
		for _, returned := range []error{nil, context.Canceled, why} {
			ctx, cancel := context.WithCancel(t.Context())
			err := m.Run(ctx, func(ctx context.Context, _ *lock.Hold) error {
				cancel()
				<-ctx.Done()
				return returned
			})
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, errors.Is(returned, why), errors.Is(err, why))
			requireKeys(t, s, "lock")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, m.Run(ctx, func(context.Context, *lock.Hold) error { panic("not held") }), context.Canceled)
	})
}

func TestDoGivesBackTheLockBeforeItReturnsAlsoWhenItsContextIsDone(t *testing.T) {
	t.Parallel()
	for way, opts := range map[string][]lock.Option{"plain": nil, "handed on": {lock.WithLocalHandoff(3)}} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				ctx, cancel := context.WithCancel(t.Context())
				err := newParty(t, s).mutex(t, opts...).Do(ctx, func(context.Context, *lock.Hold) error {
					cancel()
					return nil
				})
				require.NoError(t, err)
				requireKeys(t, s, "lock")
			})
		})
	}
}

func TestDoWaitsNoLongerThanTheGraceForAServerThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	for way, opts := range map[string][]lock.Option{"plain": nil, "handed on": {lock.WithLocalHandoff(3)}} {
		for _, before := range []bool{true, false} {
			t.Run(way, func(t *testing.T) {
				t.Parallel()
				vtime.Run(t, func(t *testing.T, s *vtime.Server) {
					p := newParty(t, s)
					ctx, cancel := context.WithCancel(t.Context())
					var done time.Time
					end := func() { done = time.Now(); cancel() }
					err := p.mutex(t, opts...).Do(ctx, func(_ context.Context, h *lock.Hold) error {
						h.Guard()
						p.cut.Cut()
						if before {
							end()
						} else {
							time.AfterFunc(2*time.Second, end)
						}
						return nil
					})
					require.NoError(t, err)
					require.Equal(t, lease.DefaultGrace, time.Since(done))
				})
			})
		}
	}
}

func TestDoDoesNotWaitForAServerThatCannotBeReached(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		var done time.Time
		err := p.mutex(t).Do(ctx, func(context.Context, *lock.Hold) error {
			p.rec.Hook("Txn", func(context.Context, any, func() error) error {
				return status.Error(codes.Unavailable, "connection refused")
			})
			done = time.Now()
			cancel()
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, done, time.Now())
	})
}

func TestAWaitThatIsGivenUpSaysBehindWhom(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p, q := newParty(t, s), newParty(t, s)
		h := take(t, p.mutex(t))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := q.mutex(t).Lock(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, h.Key())
		unlock(t, h)

		delay := lock.WithLockDelay(time.Minute)
		h = take(t, p.mutex(t, delay, lock.WithOwner("the lost")))
		operate(t, s, func(client *clientv3.Client) error {
			_, err := client.Delete(t.Context(), h.Key())
			return err
		})
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = q.mutex(t, delay).Lock(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "the lost")
	})
}
