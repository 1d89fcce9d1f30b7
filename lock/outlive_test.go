package lock_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lock"
)

// derivations are contexts of a holder's own making that end after a second: derived from the hold, with a deadline of
// theirs, or that of a context it was made with.
func derivations() map[string]func(ctx context.Context, h *lock.Hold) (context.Context, context.CancelFunc) {
	const second = time.Second
	return map[string]func(context.Context, *lock.Hold) (context.Context, context.CancelFunc){
		"with a deadline, then the hold": func(ctx context.Context, h *lock.Hold) (context.Context, context.CancelFunc) {
			ctx, first := context.WithTimeout(ctx, second)
			ctx, then := h.With(ctx)
			return ctx, func() { then(); first() }
		},
		"the hold, then a deadline": func(ctx context.Context, h *lock.Hold) (context.Context, context.CancelFunc) {
			ctx, first := h.With(ctx)
			ctx, then := context.WithTimeout(ctx, second)
			return ctx, func() { then(); first() }
		},
		"the hold's, then a deadline": func(_ context.Context, h *lock.Hold) (context.Context, context.CancelFunc) {
			return context.WithTimeout(h.Context(), second)
		},
		"the hold twice": func(ctx context.Context, h *lock.Hold) (context.Context, context.CancelFunc) {
			ctx, first := context.WithTimeout(ctx, second)
			ctx, then := h.With(ctx)
			ctx, last := h.With(ctx)
			return ctx, func() { last(); then(); first() }
		},
		"one that is cancelled, then the hold": func(ctx context.Context, h *lock.Hold) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(second, cancel)
			return h.With(ctx)
		},
		"without the hold": func(ctx context.Context, _ *lock.Hold) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, second)
		},
	}
}

func TestUnlockWithAContextOfTheHoldKeepsItsDeadline(t *testing.T) {
	t.Parallel()
	for way, opts := range map[string][]lock.Option{
		"plain": nil, "handed on": {lock.WithLocalHandoff(3)}, "lingering": {lock.WithLinger(time.Second)},
	} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			eachVirtually(t, derivations(), func(t *testing.T, s *vtime.Server, derive func(context.Context, *lock.Hold) (context.Context, context.CancelFunc)) {
				t.Helper()
				p := newParty(t, s)
				h := take(t, p.mutex(t, opts...))
				// One that has to be removed in etcd, whatever the way.
				h.Guard()
				p.cut.Cut()
				ctx, cancel := derive(t.Context(), h)
				defer cancel()
				began := time.Now()
				err := h.Unlock(ctx)
				require.Error(t, err)
				require.NotErrorIs(t, err, lock.ErrLost)
				require.Equal(t, time.Second, time.Since(began))
				require.ErrorIs(t, h.Err(), lock.ErrReleased)
				p.cut.Heal()
				unlock(t, take(t, newParty(t, s).mutex(t)))
			})
		})
	}
}

func TestUnlockWithAContextOfTheHoldWaitsForTheRemoval(t *testing.T) {
	t.Parallel()
	eachVirtually(t, derivations(), func(t *testing.T, s *vtime.Server, derive func(context.Context, *lock.Hold) (context.Context, context.CancelFunc)) {
		t.Helper()
		h := take(t, newParty(t, s).mutex(t))
		ctx, cancel := derive(t.Context(), h)
		defer cancel()
		require.NoError(t, h.Unlock(ctx))
		requireKeys(t, s, "lock")
	})
}
