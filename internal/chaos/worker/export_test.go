package worker

import (
	"context"
	"time"
)

// Beside is beside.
func Beside[T any](ctx context.Context, patience time.Duration, do func(context.Context) (T, error)) (T, int, error) {
	return beside(ctx, patience, do)
}
