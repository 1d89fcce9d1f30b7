package worker

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Beside is beside.
func Beside[T any](ctx context.Context, patience time.Duration, do func(context.Context) (T, error)) (T, int, error) {
	return beside(ctx, patience, do)
}

// Choose is choose.
func Choose(others []string, heir, before string) string { return choose(others, heir, before) }

// over is a session that has ended.
type over struct{ stockSession }

func (over) Done() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// StockThatCannotRenew returns a lock of clientv3/concurrency whose session has ended, and
// that is refused another.
func StockThatCannotRenew(refused error) Locker {
	return &stock{session: over{}, open: func(*clientv3.Client, int) (stockSession, error) { return officialSession{}, refused }}
}
