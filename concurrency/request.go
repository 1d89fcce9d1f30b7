package concurrency

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// patience is how long an answer is waited for before the request goes out beside the
	// first once more, and mostBeside how often it does: with three members of which two have
	// vanished, one of three requests reaches the other.
	patience   = time.Second
	mostBeside = 3
	// firstPause and longestPause bound the wait after a failure.
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
// or restarts does not keep it from the others: one without an answer goes out again beside the
// first, one that has failed for a reason which may pass goes out again after a pause, and the
// first answer counts.
func beside[T any](ctx context.Context, try func(context.Context) (T, error)) (got T, err error) {
	type outcome struct {
		got T
		err error
	}
	outcomes := make(chan outcome, 1+mostBeside)
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	next := time.NewTimer(0)
	defer next.Stop()
	pause := firstPause
	for out := 0; ; {
		select {
		case o := <-outcomes:
			out--
			if o.err == nil || ctx.Err() != nil || !passing(o.err) {
				return o.got, o.err
			}
			next.Reset(pause)
			pause = min(2*pause, longestPause)
		case <-next.C:
			out++
			running.Go(func() {
				got, err := try(ctx)
				outcomes <- outcome{got, err}
			})
			if out <= mostBeside {
				next.Reset(patience)
			}
		case <-ctx.Done():
			return got, ctx.Err()
		}
	}
}

// passing reports whether the reason why a request has failed may go away by itself. It says
// nothing about whether the request took effect.
func passing(err error) bool {
	switch code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Aborted, codes.Unauthenticated:
		return true
	case codes.Unknown: // what a member says whose leader is changing; etcd has no name for it
		return strings.Contains(err.Error(), "raft proposal dropped")
	default:
		return errors.Is(err, rpctypes.ErrTooManyRequests) || errors.Is(err, rpctypes.ErrAuthOldRevision)
	}
}

// code returns the gRPC code of an error of the client.
func code(err error) codes.Code {
	if named, ok := errors.AsType[rpctypes.EtcdError](rpctypes.Error(err)); ok {
		return named.Code()
	}
	return status.Code(err)
}
