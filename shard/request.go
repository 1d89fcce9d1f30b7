package shard

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

// errClientClosed is why a request has failed that was made with a closed client.
var errClientClosed = errors.New("the etcd client was closed")

// request makes a request until it is answered or refused, the client is closed, or ctx ends.
// It must do no harm if it is carried out twice.
func request[T any](ctx context.Context, client *clientv3.Client, try func(ctx context.Context) (T, error)) (T, error) {
	ctx, release := whileOpen(ctx, client)
	defer release()
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

// whileOpen returns a context that also ends when the client is closed: calls on a closed
// client fail as if the server could not be reached.
func whileOpen(ctx context.Context, client *clientv3.Client) (within context.Context, release func()) {
	within, cancel := context.WithCancelCause(ctx)
	//nolint:forbidigo // not a deadline: with a closed client there is no answer
	closed := client.Ctx()
	if closed.Err() != nil {
		cancel(errClientClosed)
	}
	stop := context.AfterFunc(closed, func() { cancel(errClientClosed) })
	return within, func() { stop(); cancel(nil) }
}

// transient reports whether an error may go away by itself, so that the same request may yet be
// answered. What is not known to do so is final: a lease that the server does not know, for
// one, never comes back.
func transient(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) { // this attempt has had its time
		return true
	}
	switch code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Aborted, codes.Unauthenticated:
		return true
	case codes.Unknown: // what a member says whose leader is changing, and one that was removed; etcd has no names for it
		return strings.Contains(err.Error(), "raft proposal dropped") || strings.Contains(err.Error(), "raft: stopped")
	default:
		return errors.Is(err, rpctypes.ErrTooManyRequests) || errors.Is(err, rpctypes.ErrAuthOldRevision) || errors.Is(rpctypes.Error(err), errLearner)
	}
}

// errLearner is what a learner says that is asked for what only voting members answer.
var errLearner = rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner)

// code returns the gRPC code of an error of the client.
func code(err error) codes.Code {
	if named, ok := errors.AsType[rpctypes.EtcdError](rpctypes.Error(err)); ok {
		return named.Code()
	}
	return status.Code(err)
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
