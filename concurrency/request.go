package concurrency

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
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

// request is what an answer is waited for.
type request struct {
	client *clientv3.Client
	what   string
}

// led makes a request. A member that is cut off from its peers refuses it at once, so that
// another is asked, instead of keeping it until its own timeout.
func led[T any](ctx context.Context, r request, try func(context.Context) (T, error)) (T, error) {
	ctx = clientv3.WithRequireLeader(ctx)
	w := r.wait()
	defer w.end()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		got, err := try(ctx)
		if !errors.Is(err, rpctypes.ErrNoLeader) {
			return got, err
		}
		w.failed(err)
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
func beside[T any](ctx context.Context, r request, try func(context.Context) (T, error)) (got T, err error) {
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
	w := r.wait()
	defer w.end()
	pause := firstPause
	for out := 0; ; {
		select {
		case o := <-outcomes:
			out--
			if o.err == nil || ctx.Err() != nil || !passing(o.err) {
				return o.got, o.err
			}
			w.failed(o.err)
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
	case codes.Unknown: // what a member says whose leader is changing, and one that was removed; etcd has no names for it
		return strings.Contains(err.Error(), "raft proposal dropped") || strings.Contains(err.Error(), "raft: stopped")
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

// firstSilence is the time between the first warning that there is no answer and the second; it
// doubles with each.
const firstSilence = 10 * time.Second

var errNoAnswer = errors.New("no answer")

// wait is the wait for an answer. The client's log is told of one that lasts.
type wait struct {
	request
	began time.Time

	mu      sync.Mutex
	timer   *time.Timer // has it warn
	silence time.Duration
	last    error // what the last attempt has failed with
	over    bool
}

// wait begins a wait.
func (r request) wait() *wait {
	w := &wait{request: r, began: time.Now(), silence: firstSilence, last: errNoAnswer}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(patience, w.warn)
	return w
}

// failed notes why there is no answer yet.
func (w *wait) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = err
}

// end ends the wait.
func (w *wait) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.timer.Stop()
}

// warn warns that there is no answer yet.
func (w *wait) warn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	w.client.GetLogger().Warn(w.what+": no answer yet", zap.Duration("for", time.Since(w.began)),
		zap.Strings("endpoints", w.client.Endpoints()), zap.Error(w.last))
	w.timer.Reset(w.silence)
	w.silence *= 2
}
