package redlock_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

// What a function holds is given back before it returns, also when its context is done.

func TestDoGivesBackBeforeItReturnsAlthoughItsContextIsDone(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		m, err := redlock.NewMutex(virtualNodes(t, v, n), name)
		require.NoError(t, err)
		slowly(v, n, 100*time.Millisecond)
		for what, do := range map[string]func(context.Context, func(context.Context, *redlock.Hold) error) error{
			"Do": m.Do, "TryDo": m.TryDo, "Run": m.Run,
		} {
			ctx, cancel := context.WithCancel(t.Context())
			err = do(ctx, func(ctx context.Context, _ *redlock.Hold) error {
				cancel()
				<-ctx.Done()
				return nil
			})
			if what == "Run" {
				require.ErrorIs(t, err, context.Canceled)
			} else {
				require.NoError(t, err)
			}
			have := 0
			for i := range n {
				if v.Wire(i).Redis().Exists(name) {
					have++
				}
			}
			require.LessOrEqual(t, have, n/2, "%s: no majority has the key", what)
			synctest.Wait()
		}
		slowly(v, n, 0)
	})
}

func TestDoWaitsForNodesThatDoNotAnswerForTheGracePeriodAtMost(t *testing.T) {
	t.Parallel()
	for _, grace := range []time.Duration{0, timeout / 5, time.Minute} {
		t.Run(grace.String(), func(t *testing.T) {
			t.Parallel()
			onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
				m, err := redlock.NewMutex(virtualNodes(t, v, n, redlock.WithGrace(grace)), name)
				require.NoError(t, err)
				ctx, cancel := context.WithCancel(t.Context())
				var left time.Time
				require.NoError(t, m.Do(ctx, func(context.Context, *redlock.Hold) error {
					synctest.Wait()
					for i := range n {
						v.Wire(i).Cut()
					}
					cancel()
					left = time.Now()
					return nil
				}))
				require.Equal(t, min(grace, timeout), time.Since(left))
			})
		})
	}
}

func TestCloseGivesBackAlthoughItsContextIsDone(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		nodes := virtualNodes(t, v, n)
		held, unlocked := lockVirtual(t, nodes), lockAs(t, nodes, "unlocked")
		slowly(v, n, 20*time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, unlocked.Unlock(ctx), context.Canceled, "at once")
		require.NoError(t, nodes.Close(ctx))
		lost(t, held)
		for i := range n {
			require.False(t, v.Wire(i).Redis().Exists(name))
			require.False(t, v.Wire(i).Redis().Exists("unlocked"))
		}
		slowly(v, n, 0)
	})
}

func lockAs(t *testing.T, nodes *redlock.Nodes, name string) *redlock.Hold {
	t.Helper()
	m, err := redlock.NewMutex(nodes, name)
	require.NoError(t, err)
	h, err := m.Lock(t.Context())
	require.NoError(t, err)
	synctest.Wait()
	return h
}

func TestCloseWithAContextThatIsDoneWaitsForOneAttemptAtMost(t *testing.T) {
	t.Parallel()
	for _, grace := range []time.Duration{0, timeout / 5, time.Minute} {
		t.Run(grace.String(), func(t *testing.T) {
			t.Parallel()
			onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
				nodes := virtualNodes(t, v, n, redlock.WithGrace(grace))
				lockVirtual(t, nodes)
				for i := range n {
					v.Wire(i).Cut()
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				start := time.Now()
				require.ErrorIs(t, nodes.Close(ctx), context.Canceled)
				require.Equal(t, min(grace, timeout), time.Since(start))
			})
		})
	}
}

// Run takes the lock again after a loss.
func TestRunKeepsAFunctionRunning(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		m, err := redlock.NewMutex(virtualNodes(t, v, n), name)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		calls := 0
		mine := errors.New("mine")
		err = m.Run(ctx, func(ctx context.Context, h *redlock.Hold) error {
			calls++
			if calls == 3 {
				return mine
			}
			synctest.Wait()
			for i := range n {
				v.Wire(i).Redis().Del(name)
			}
			<-ctx.Done()
			require.ErrorIs(t, h.Err(), redlock.ErrLost)
			return ctx.Err()
		})
		require.ErrorIs(t, err, mine)
		require.Equal(t, 3, calls)
		err = m.Run(ctx, func(ctx context.Context, _ *redlock.Hold) error {
			cancel()
			<-ctx.Done()
			return mine
		})
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, mine)
		require.ErrorIs(t, m.Run(ctx, func(context.Context, *redlock.Hold) error { return nil }), context.Canceled)
	})
}

func TestWhatIsNilOrZeroIsAnError(t *testing.T) {
	t.Parallel()
	c := redistest.NewEmbedded(t, 1)
	p := newPeer(t, c)
	m := p.mutex(t, name)
	h := p.lock(t, name)
	var none context.Context
	nothing := func(context.Context, *redlock.Hold) error { return nil }
	zero := &redlock.Mutex{}
	lock := func(m *redlock.Mutex, ctx context.Context) error { _, err := m.Lock(ctx); return err }
	try := func(m *redlock.Mutex, ctx context.Context) error { _, err := m.TryLock(ctx); return err }
	for what, err := range map[string]error{
		"Lock, context": lock(m, none), "TryLock, context": try(m, none),
		"Do, context": m.Do(none, nothing), "TryDo, context": m.TryDo(none, nothing), "Run, context": m.Run(none, nothing),
		"Do, function": m.Do(t.Context(), nil), "TryDo, function": m.TryDo(t.Context(), nil), "Run, function": m.Run(t.Context(), nil),
		"Lock, mutex": lock(zero, t.Context()), "Lock, nil mutex": lock(nil, t.Context()), "TryLock, mutex": try(zero, t.Context()),
		"Do, mutex": zero.Do(t.Context(), nothing), "Extend, context": h.Extend(none), "Unlock, context": h.Unlock(none),
		"Err, hold": (&redlock.Hold{}).Err(), "Extend, hold": (&redlock.Hold{}).Extend(t.Context()), "Unlock, hold": (&redlock.Hold{}).Unlock(t.Context()),
		"Context, hold": context.Cause((&redlock.Hold{}).Context()),
		"Close, nodes":  (&redlock.Nodes{}).Close(t.Context()), "Close, nil nodes": (*redlock.Nodes)(nil).Close(t.Context()), "Close, context": p.Close(none),
	} {
		require.ErrorContains(t, err, "redlock: ", what)
	}
	within, cancel := (&redlock.Hold{}).With(t.Context())
	defer cancel()
	require.Error(t, within.Err())
	require.NoError(t, h.Err())
	unlock(t, h)
	_, err := redlock.NewNodes(p.clients, redlock.WithGrace(-1))
	require.ErrorContains(t, err, "redlock: grace period -1ns: must be 0 or more")
	_, err = redlock.NewNodes(p.clients, redlock.WithOwner("a\nb"))
	require.ErrorContains(t, err, "redlock: owner")
}
