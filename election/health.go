package election

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// check is the health check that was asked for.
type check struct {
	period, timeout time.Duration
	fn              func(ctx context.Context) error
}

var errCheckHangs = errors.New("the health check did not return in time")

// health runs the check for one runner. Without a check everybody is healthy.
type health struct {
	check *check
	// turn holds a token while a call of the check has not returned.
	turn chan struct{}
	// failed is the time of the last failure, zero after a success.
	failed time.Time
}

func newHealth(c *check) *health { return &health{check: c, turn: make(chan struct{}, 1)} }

// recovered calls the check until it succeeds, at most once a period, and reports whether
// it did before ctx ended.
func (h *health) recovered(ctx context.Context) bool {
	if h.check == nil {
		return true
	}
	for {
		if !h.failed.IsZero() && !waitUntil(ctx, h.failed.Add(h.check.period)) {
			return false
		}
		if err := h.call(ctx); err == nil || ctx.Err() != nil {
			return ctx.Err() == nil
		}
	}
}

// attend returns ctx, ended also by the next call of the check that fails, and a function
// that ends the attendance and waits for it.
func (h *health) attend(ctx context.Context) (well context.Context, stop func()) {
	well, cancel := context.WithCancelCause(ctx)
	if h.check == nil {
		return well, func() { cancel(nil) }
	}
	done := make(chan struct{})
	go func() { // ends with well
		defer close(done)
		cancel(h.watch(well))
	}()
	return well, func() { cancel(nil); <-done }
}

// watch calls the check every period until it fails or ctx ends.
func (h *health) watch(ctx context.Context) error {
	for waitUntil(ctx, time.Now().Add(h.check.period)) {
		if err := h.call(ctx); err != nil {
			return fmt.Errorf("%w: %w", ErrUnhealthy, err)
		}
	}
	return context.Cause(ctx)
}

// call calls the check, and does not wait for it longer than its timeout. While an
// earlier call has not returned there is no other. If ctx ends meanwhile, nobody knows how
// the check would have ended, and no failure is noted.
func (h *health) call(ctx context.Context) error {
	err := h.outcome(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	h.failed = time.Time{}
	if err != nil {
		h.failed = time.Now()
	}
	return err
}

// outcome is what a call of the check returns, or that there is none in time.
func (h *health) outcome(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, h.check.timeout, errCheckHangs)
	defer cancel()
	select {
	case h.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	result := make(chan error, 1)
	go func() { // ends with the check; close waits for it
		defer func() { <-h.turn }()
		result <- h.check.fn(ctx)
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close waits for a check that has not returned, but not for one that hangs.
func (h *health) close() {
	if h.check == nil {
		return
	}
	timer := time.NewTimer(h.check.timeout)
	defer timer.Stop()
	select {
	case h.turn <- struct{}{}:
	case <-timer.C:
	}
}
