package shard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// tryTimeout is how long an answer is waited for before the request is repeated,
	// perhaps by way of another member.
	tryTimeout = 2 * time.Second
	// firstPause and lastPause bound the wait before that.
	firstPause = 20 * time.Millisecond
	lastPause  = time.Second
)

// request makes a request until it is answered or refused, or ctx ends. It must do no harm
// if it is carried out twice.
func request[T any](ctx context.Context, try func(ctx context.Context) (T, error)) (T, error) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		within, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), tryTimeout)
		answer, err := try(within)
		cancel()
		if err == nil || ctx.Err() == nil && !transient(err) {
			return answer, err
		}
		if !sleep(ctx, pause) {
			return answer, fmt.Errorf("%w; last error: %w", context.Cause(ctx), err)
		}
	}
}

// transient reports whether an error may go away by itself.
func transient(err error) bool {
	code := status.Code(err)
	if e, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		code = e.Code()
	}
	switch code {
	case codes.PermissionDenied, codes.InvalidArgument, codes.OutOfRange, codes.Unimplemented:
		return false
	case codes.ResourceExhausted:
		return !errors.Is(err, rpctypes.ErrNoSpace)
	default:
		return true
	}
}

// sleep waits, and reports whether ctx is still going.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// graced returns ctx without its end, which comes when the grace has passed after it.
func graced(ctx context.Context, grace time.Duration) (within context.Context, cancel context.CancelFunc) {
	within, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, func() { end(context.Cause(ctx)) })
		context.AfterFunc(within, func() { timer.Stop() })
	})
	return within, func() { stop(); end(nil) }
}
