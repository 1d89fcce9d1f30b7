package redlock

import (
	"context"
	"errors"
	"fmt"
)

// Run keeps fn running under the lock until ctx ends: it locks, calls fn as [Mutex.Do]
// does, and if the hold was lost, it waits for fn and locks again, whatever fn returned. It
// is for work that one process at a time should do for as long as it lives, and that does
// no harm if two occasionally do it together.
//
//   - fn returns, and the lock was held until then: Run unlocks and returns what fn
//     returned.
//   - The hold is lost: Run waits for fn, locks again and calls fn again.
//   - ctx ends: Run waits for fn, unlocks within the grace period ([WithGrace]) and returns
//     ctx's error, joined with fn's if that is a different one.
//   - fn panics: Run unlocks and lets the panic go on.
//
// fn's context ends with the hold and with ctx; fn must return soon after. Run also
// returns the errors of [Mutex.Lock] besides ctx's, after [Nodes.Close] for example.
func (m *Mutex) Run(ctx context.Context, fn func(ctx context.Context, h *Hold) error) error {
	if fn == nil {
		return errNilFunction
	}
	for {
		h, err := m.Lock(ctx)
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
			return over(ctx, m.name, returned)
		case held == nil:
			return returned
		}
	}
}

// over returns the error of a Run whose ctx has ended, after fn returned err.
func over(ctx context.Context, name string, err error) error {
	end := fmt.Errorf("redlock: running under %q: %w", name, ended(ctx, nil))
	if err == nil || errors.Is(end, err) || errors.Is(err, ctx.Err()) {
		return end
	}
	return errors.Join(end, err)
}
