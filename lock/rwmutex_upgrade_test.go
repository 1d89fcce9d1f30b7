package lock_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lock"
)

func TestUpgradeIsRefusedWithoutARequest(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	m, same := p.rwMutex(t, name), p.rwMutex(t, name)
	never := func(_ context.Context, h *lock.Hold) error {
		t.Error("fn was called")
		return h.Err()
	}
	for _, rdo := range []func(context.Context, func(context.Context, *lock.Hold) error) error{m.RDo, m.TryRDo} {
		err := rdo(guarded(t), func(ctx context.Context, h *lock.Hold) error {
			ctx, cancel := context.WithCancel(context.WithValue(ctx, key{}, "nested"))
			defer cancel()
			p.Rec.Reset()
			for _, m := range []*lock.RWMutex{m, same} {
				_, lockErr := m.Lock(ctx)
				_, tryErr := m.TryLock(ctx)
				for _, err := range []error{lockErr, tryErr, m.Do(ctx, never), m.TryDo(ctx, never)} {
					require.ErrorIs(t, err, lock.ErrUpgrade)
					require.ErrorContains(t, err, "would deadlock")
					require.ErrorContains(t, err, name)
					require.ErrorContains(t, err, h.Key())
				}
			}
			require.Empty(t, p.Rec.Calls())
			return h.Err()
		})
		require.NoError(t, err)
	}
}

func TestLockingSomethingElseWithinRDoIsNoUpgrade(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	m := p.rwMutex(t, name)
	err := m.RDo(guarded(t), func(ctx context.Context, _ *lock.Hold) error {
		for _, other := range []string{name + "/other", name + "2"} {
			h, err := p.rwMutex(t, other).Lock(ctx)
			require.NoError(t, err)
			unlock(t, h)
		}
		h, err := p.mutex(t, name).Lock(ctx)
		require.NoError(t, err, "a mutex of the name")
		unlock(t, h)
		h, err = m.RLock(ctx)
		require.NoError(t, err, "for reading once more")
		unlock(t, h)
		return nil
	})
	require.NoError(t, err)
}

func TestUpgradeIsRefusedThroughTheContextsOfOtherLocks(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	m, other := p.rwMutex(t, name), p.rwMutex(t, name+"/other")
	err := m.RDo(guarded(t), func(ctx context.Context, _ *lock.Hold) error {
		return other.RDo(ctx, func(ctx context.Context, _ *lock.Hold) error {
			_, err := m.Lock(ctx)
			require.ErrorIs(t, err, lock.ErrUpgrade)
			_, err = other.TryLock(ctx)
			require.ErrorIs(t, err, lock.ErrUpgrade)
			return nil
		})
	})
	require.NoError(t, err)
}

func TestLockingForWritingAfterTheReadersHoldHasEndedIsNoUpgrade(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	m := p.rwMutex(t, name)
	kept := make(chan context.Context, 1)
	err := m.RDo(guarded(t), func(ctx context.Context, h *lock.Hold) error {
		within := context.WithoutCancel(ctx)
		kept <- within
		unlock(t, h)
		write, err := m.Lock(within)
		require.NoError(t, err, "after an early Unlock")
		unlock(t, write)
		return nil
	})
	require.NoError(t, err)
	h, err := m.Lock(<-kept)
	require.NoError(t, err, "after RDo")
	unlock(t, h)
}
