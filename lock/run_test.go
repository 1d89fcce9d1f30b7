package lock_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
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
		const grace = 10 * time.Second
		p := newParty(t, s)
		var err error
		p.session, err = lease.NewSession(t.Context(), p.client, lease.WithTTL(partyTTL), lease.WithGrace(grace))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var done time.Time
		err = p.mutex(t).Do(ctx, func(context.Context, *lock.Hold) error {
			s.Stop()
			done = time.Now()
			cancel()
			return nil
		})
		require.NoError(t, err)
		require.Less(t, time.Since(done), grace/5)
		began := time.Now()
		require.Error(t, p.session.Close(ctx))
		require.Less(t, time.Since(began), grace/5)
		s.Start()
		require.NoError(t, p.session.Close(t.Context()))
		requireKeys(t, s, "lock")
	})
}

// The next attempt reaches another member.
func TestDoAndRunGiveBackTheLockAlthoughTheFirstMemberAskedRefusesOrHasVanished(t *testing.T) {
	t.Parallel()
	eachVirtually(t, etcdtest.Setbacks(), func(t *testing.T, s *vtime.Server, fails func(context.Context) error) {
		t.Helper()
		p := newParty(t, s)
		m := p.mutex(t)
		for _, use := range []func(context.Context, func(context.Context, *lock.Hold) error) error{m.Do, m.Run} {
			ctx, cancel := context.WithCancel(t.Context())
			var remove func()
			var called func() bool
			var done time.Time
			_ = use(ctx, func(context.Context, *lock.Hold) error {
				remove, called = p.rec.HookFirst("Txn", fails)
				done = time.Now()
				cancel()
				return nil
			})
			require.True(t, called())
			require.Less(t, time.Since(done), lease.DefaultGrace)
			requireKeys(t, s, "lock")
			remove()
		}
	})
}

// A removal that nobody waits for goes on in the background, on a member that has vanished.
func TestASessionThatWaitsForARemovalHasTimeToRevokeItsLease(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		h := take(t, p.mutex(t))
		_, called := p.rec.HookFirst("Txn", etcdtest.Vanished)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, h.Unlock(ctx), context.Canceled)
		require.NoError(t, p.session.Close(ctx))
		require.True(t, called())
		requireKeys(t, s, "lock")
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
