package concurrency

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// patience is how long an answer is waited for before the request goes out beside the
	// first once more, and mostBeside how often it does: with three members of which two have
	// vanished, one of three requests reaches the other.
	patience   = time.Second
	mostBeside = 3
	// firstPause and longestPause bound the wait after a refusal for lack of a leader.
	firstPause, longestPause = 20 * time.Millisecond, time.Second
)

// led makes a request. A member that is cut off from its peers refuses it at once, so that
// another is asked, instead of keeping it until its own timeout.
func led[T any](ctx context.Context, try func(context.Context) (T, error)) (T, error) {
	ctx = clientv3.WithRequireLeader(ctx)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		got, err := try(ctx)
		if !errors.Is(err, rpctypes.ErrNoLeader) {
			return got, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return got, ctx.Err()
		}
	}
}

// beside makes a request that may be made several times, so that a member which has vanished
// does not keep it from the others: one without an answer goes out again beside the first, and
// the first answer counts.
func beside[T any](ctx context.Context, try func(context.Context) (T, error)) (got T, err error) {
	type outcome struct {
		got T
		err error
	}
	outcomes := make(chan outcome, 1+mostBeside)
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next := time.NewTimer(0)
	defer next.Stop()
	begun, out := 0, 0
	for {
		select {
		case o := <-outcomes:
			if out--; o.err == nil || out == 0 {
				return o.got, o.err
			}
		case <-next.C:
			begun++
			out++
			running.Go(func() {
				got, err := led(ctx, try)
				outcomes <- outcome{got, err}
			})
			if begun <= mostBeside {
				next.Reset(patience)
			}
		}
	}
}
