package lock_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lock"
)

func TestDoHoldsTheLockWhileItsFunctionRuns(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c), c.Prefix(t)+"m"
	m := p.mutex(t, name)
	why := errors.New("why")
	for _, do := range []func(context.Context, func(context.Context, *lock.Hold) error) error{m.Do, m.TryDo} {
		var held *lock.Hold
		err := do(context.WithValue(guarded(t), key{}, "value"), func(ctx context.Context, h *lock.Hold) error {
			held = h
			require.Equal(t, "value", ctx.Value(key{}))
			requireOnly(t, p.Client, name, h)
			require.ErrorIs(t, m.TryDo(ctx, nil), lock.ErrLocked)
			return why
		})
		require.Equal(t, why, err)
		require.ErrorIs(t, held.Err(), lock.ErrReleased)
		require.Empty(t, queueOf(t, p.Client, name))
		require.NoError(t, do(guarded(t), func(context.Context, *lock.Hold) error { return nil }))
	}
}

func TestDoEndsItsContextWithTheCallersAndReleasesAllTheSame(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c), c.Prefix(t)+"m"
	ctx, cancel := context.WithCancel(guarded(t))
	err := p.mutex(t, name).Do(ctx, func(ctx context.Context, h *lock.Hold) error {
		cancel()
		await(t, ctx.Done(), "its context ends")
		require.NoError(t, h.Err())
		return nil
	})
	require.NoError(t, err)
	awaitQueue(t, p.Client, name, 0)
}

func TestDoSaysThatTheLockWasLost(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, operator := newPeer(t, c, withTTL(unhurried)), c.Client(t)
	m := p.mutex(t, c.Prefix(t)+"m")
	why := errors.New("why")
	for _, returned := range []error{nil, why} {
		err := m.Do(guarded(t), func(ctx context.Context, h *lock.Hold) error {
			remove(t, operator, h.Key())
			p.hurry(t)
			await(t, ctx.Done(), "its context ends with the hold")
			require.ErrorIs(t, context.Cause(ctx), lock.ErrLost)
			return returned
		})
		require.ErrorIs(t, err, lock.ErrLost)
		if returned != nil {
			require.ErrorIs(t, err, returned)
		}
	}
	// Nobody has noticed before fn returned.
	err := m.Do(guarded(t), func(_ context.Context, h *lock.Hold) error {
		remove(t, operator, h.Key())
		return nil
	})
	require.ErrorIs(t, err, lock.ErrLost)
}

func TestDoReleasesWhenItsFunctionPanicsOrExits(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c), c.Prefix(t)+"m"
	m := p.mutex(t, name)
	require.PanicsWithValue(t, "why", func() {
		_ = m.Do(guarded(t), func(context.Context, *lock.Hold) error { panic("why") })
	})
	require.Empty(t, queueOf(t, p.Client, name))

	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = m.TryDo(guarded(t), func(context.Context, *lock.Hold) error {
			runtime.Goexit()
			return nil
		})
	}()
	await(t, exited, "the goroutine exits")
	require.Empty(t, queueOf(t, p.Client, name))
}

func TestDoMayUnlockEarlyWithItsOwnContext(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c), c.Prefix(t)+"m"
	require.NoError(t, p.mutex(t, name).Do(guarded(t), func(ctx context.Context, h *lock.Hold) error {
		require.NoError(t, h.Unlock(ctx), "its end is that of the hold")
		require.Empty(t, queueOf(t, p.Client, name), "it has waited")
		await(t, ctx.Done(), "its context ends")
		return nil
	}))
}
