package lock

import (
	"context"
	"errors"
	"fmt"

	"github.com/conclave-go/conclave/internal/attempt"
)

// Run keeps fn running under the lock until ctx ends: it locks, calls fn as [Mutex.Do]
// does, and if the hold was lost, it waits for fn and locks again, whatever fn returned. It
// is to a lock what election.Run is to an election: for work that one process at a time
// should do for as long as it lives.
//
//   - fn returns, and the lock was held until then: Run unlocks and returns what fn
//     returned.
//   - The hold is lost: Run waits for fn, locks again and calls fn again.
//   - ctx ends: Run waits for fn, unlocks and returns ctx's error, joined with fn's if that
//     is a different one.
//   - fn panics: Run unlocks and lets the panic go on.
//
// fn's context ends with the hold and with ctx; fn must return soon after. Run also
// returns the errors of [Mutex.Lock] besides ctx's.
func (m *Mutex) Run(ctx context.Context, fn func(ctx context.Context, h *Hold) error) error {
	return runs(ctx, m.Lock, fn)
}

// Run keeps fn running under all of the locks, as [Mutex.Run] does.
func (m *Multi) Run(ctx context.Context, fn func(ctx context.Context, h *Hold) error) error {
	return runs(ctx, m.Lock, fn)
}

// Run keeps fn running with the lock held for writing, as [Mutex.Run] does.
func (m *RWMutex) Run(ctx context.Context, fn func(ctx context.Context, h *Hold) error) error {
	return runs(ctx, m.Lock, fn)
}

// RRun keeps fn running with the lock held for reading, as [Mutex.Run] does. fn's context is
// as for [RWMutex.RDo].
func (m *RWMutex) RRun(ctx context.Context, fn func(ctx context.Context, h *Hold) error) error {
	if err := checkFunc(fn); err != nil {
		return err
	}
	return runs(ctx, m.RLock, m.marking(fn))
}

// Run keeps fn running with n permits held, as [Mutex.Run] does.
func (s *Semaphore) Run(ctx context.Context, n int, fn func(ctx context.Context, h *Hold) error) error {
	return runs(ctx, func(ctx context.Context) (*Hold, error) { return s.Acquire(ctx, n) }, fn)
}

// runs calls fn with what take returns held, and again after a loss.
func runs(ctx context.Context, take func(context.Context) (*Hold, error), fn func(context.Context, *Hold) error) error {
	if err := errors.Join(checkContext(ctx), checkFunc(fn)); err != nil {
		return err
	}
	for {
		h, err := take(ctx)
		if err != nil {
			return err
		}
		var returned error
		held := h.do(ctx, func(ctx context.Context, h *Hold) error {
			returned = fn(ctx, h)
			return nil
		})
		switch {
		case ctx.Err() != nil:
			return over(ctx, returned)
		case held == nil:
			return returned
		}
	}
}

// over returns the error of a Run whose ctx has ended, after fn returned err.
func over(ctx context.Context, err error) error {
	ended := attempt.Ended(ctx, nil)
	if err == nil || errors.Is(ended, err) || errors.Is(err, ctx.Err()) {
		return fmt.Errorf("lock: running: %w", ended)
	}
	return fmt.Errorf("lock: running: %w; fn: %w", ended, err)
}
