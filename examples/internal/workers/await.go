package workers

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errTimeIsUp ends a Watch.
var errTimeIsUp = errors.New("time is up")

// Await takes events from next until one meets the condition, and returns that. It
// fails when next does, and when there is no sign of what is waited for in time.
func Await[E any](
	ctx context.Context, next func(context.Context) (E, error), limit time.Duration, what string, cond func(E) bool,
) (E, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no sign of %s within %s", what, limit))
	defer cancel()
	for {
		e, err := next(ctx)
		if err != nil || cond(e) {
			return e, err
		}
	}
}

// Watch takes events from next for a while.
func Watch[E any](ctx context.Context, next func(context.Context) (E, error), d time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d, errTimeIsUp)
	defer cancel()
	for {
		if _, err := next(ctx); errors.Is(err, errTimeIsUp) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// UnlessDone returns err unless the end of ctx accounts for it.
func UnlessDone(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}
