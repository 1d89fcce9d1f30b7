package lock_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lock"
)

type key struct{}

func TestHoldsContextHasTheValuesOfLocksButNotItsEnd(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := newPeer(t, c)
	ctx, cancel := context.WithCancel(context.WithValue(guarded(t), key{}, "value"))
	h, err := p.mutex(t, c.Prefix(t)+"m").Lock(ctx)
	require.NoError(t, err)
	require.Equal(t, "value", h.Context().Value(key{}))
	_, has := h.Context().Deadline()
	require.False(t, has)
	cancel()
	require.NoError(t, h.Context().Err())
	require.NoError(t, h.Err())
	unlock(t, h)
	await(t, h.Context().Done(), "the context ends")
	require.ErrorIs(t, context.Cause(h.Context()), lock.ErrReleased)
	require.Equal(t, "value", h.Context().Value(key{}))
}

func TestWithEndsWithEither(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := newPeer(t, c)
	h := p.lock(t, c.Prefix(t)+"m")

	why := errors.New("why")
	parent, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
	ctx, free := h.With(parent)
	defer free()
	require.Equal(t, "value", ctx.Value(key{}))
	cancel(why)
	await(t, ctx.Done(), "it ends with its parent")
	require.Equal(t, why, context.Cause(ctx))

	ctx, free = h.With(t.Context())
	free()
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	require.NoError(t, h.Err(), "to free it does not end the hold")

	ctx, free = h.With(t.Context())
	defer free()
	unlock(t, h)
	await(t, ctx.Done(), "it ends with the hold")
	require.ErrorIs(t, context.Cause(ctx), lock.ErrReleased)
}

func TestHoldEndsBeforeItsKeyIsDeleted(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := newPeer(t, c, withTTL(calm))
	h := p.lock(t, c.Prefix(t)+"m")
	sent := make(chan error, 1)
	p.Rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
		if h.Deadline().After(time.Now()) || h.Remaining() > 0 {
			t.Error("its deadline has not been capped")
		}
		sent <- context.Cause(h.Context())
		return invoke()
	})
	unlock(t, h)
	require.ErrorIs(t, await(t, sent, "the deletion"), lock.ErrReleased)
}

func TestHoldIsOverAfterUnlock(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := newPeer(t, c, withTTL(calm))
	h := p.lock(t, c.Prefix(t)+"m")
	name, token := h.Key(), h.Token()
	unlock(t, h)
	p.Rec.Reset()

	require.ErrorIs(t, h.Err(), lock.ErrReleased)
	require.NotErrorIs(t, h.Err(), lock.ErrLost)
	require.False(t, h.Deadline().After(time.Now()))
	require.LessOrEqual(t, h.Remaining(), time.Duration(0))
	require.Equal(t, name, h.Key())
	require.Equal(t, token, h.Token())
	ctx, free := h.With(t.Context())
	defer free()
	await(t, ctx.Done(), "nothing new begins")
	_, err := h.Txn(guarded(t)).Then(clientv3.OpPut("k", "v")).Commit()
	require.ErrorIs(t, err, lock.ErrReleased)
	unlock(t, h)
	require.Empty(t, p.Rec.Calls(), "no request is made")
	resp, err := p.Client.Txn(guarded(t)).If(h.Guard()...).Commit()
	require.NoError(t, err)
	require.False(t, resp.Succeeded)
}

func TestUnlockFromManyGoroutinesDeletesOnce(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := newPeer(t, c, withTTL(calm))
	m := p.mutex(t, c.Prefix(t)+"m")
	for range 20 {
		h, err := m.Lock(guarded(t))
		require.NoError(t, err)
		p.Rec.Reset()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := h.Unlock(guarded(t)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.Equal(t, tally{writes: 1}, sent(p.Rec))
	}
}

func TestUnlockWithADoneContextReleasesInTheBackground(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	h := p.lock(t, name)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := h.Unlock(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, h.Err(), lock.ErrReleased)
	unlock(t, h) // waits
	require.Empty(t, queueOf(t, p.Client, name))
}

func TestUnlockDuringAPartitionReturnsWithItsContextAndReleasesLater(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator, name := c.Client(t), c.Prefix(t)+"m"
	p := newPeer(t, c, withTTL(calm))
	h := p.lock(t, name)
	p.Net.Cut()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- h.Unlock(ctx) }()
	}
	await(t, h.Context().Done(), "the hold ends at once")
	cancel()
	for range 2 {
		require.ErrorIs(t, await(t, done, "Unlock returns"), context.Canceled)
	}
	require.Len(t, queueOf(t, operator, name), 1, "still cut off")
	p.Net.Heal()
	awaitQueue(t, operator, name, 0)
	unlock(t, h)
}

func TestUnlockAfterTheSessionWasClosedSaysThatTheLockWasLost(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, end := range map[string]func(p *peer) error{
		"session": func(p *peer) error { return p.Session.Close(guarded(t)) },
		"client":  func(p *peer) error { return p.Client.Close() },
	} {
		p := newPeer(t, c)
		h := p.lock(t, c.Prefix(t)+"m")
		require.NoError(t, end(p), what)
		lost(t, h)
		for range 2 {
			require.ErrorIs(t, h.Unlock(guarded(t)), lock.ErrLost, what)
		}
		_, err := h.Txn(guarded(t)).Commit()
		require.ErrorIs(t, err, lock.ErrLost, what)
	}
}

func TestUnlockAfterUnlockAndCloseIsStillFine(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := newPeer(t, c)
	h := p.lock(t, c.Prefix(t)+"m")
	unlock(t, h)
	require.NoError(t, p.Session.Close(guarded(t)))
	unlock(t, h)
	require.ErrorIs(t, h.Err(), lock.ErrReleased)
}
