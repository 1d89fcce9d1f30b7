package concurrency

import (
	"context"
	"errors"
	"slices"
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
	// first once more. mostOut is how many are out at once: with three members of which two have
	// vanished, one of three requests reaches the other, if nobody else's change that order. The
	// first stays out for as long as it takes, since answers may be slower than all patience; the
	// oldest of the others makes room for the next. From when so many are out, the distances
	// double, up to longestPatience.
	patience, longestPatience = time.Second, 8 * time.Second
	mostOut                   = 4
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
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	v := &volley[T]{ctx: ctx, try: try, outcomes: make(chan outcome[T])}
	defer v.running.Wait()
	defer cancel()
	w := r.wait()
	defer w.end()
	next := time.NewTimer(0)
	defer next.Stop()
	for distance, pause := patience, firstPause; ; {
		select {
		case o := <-v.outcomes:
			replaced := v.over(o.of)
			switch {
			case o.err == nil:
				return o.got, nil
			case replaced: // it says nothing: it was cancelled
				continue
			case ctx.Err() != nil || !passing(o.err):
				return o.got, o.err
			}
			w.failed(o.err)
			next.Reset(pause)
			distance, pause = patience, min(2*pause, longestPause)
		case <-next.C:
			v.send()
			next.Reset(distance)
			if len(v.out) == mostOut {
				distance = min(2*distance, longestPatience)
			}
		case <-ctx.Done():
			return got, ctx.Err()
		}
	}
}

// volley is the attempts at a request that are out beside each other, until ctx ends.
type volley[T any] struct {
	ctx      context.Context //nolint:containedctx // it is that of a call
	try      func(context.Context) (T, error)
	outcomes chan outcome[T]
	running  sync.WaitGroup
	out      []*context.CancelFunc // what ends those that are out, the oldest first
}

// outcome is that of an attempt.
type outcome[T any] struct {
	got T
	err error
	of  *context.CancelFunc
}

// send makes one more attempt.
func (v *volley[T]) send() {
	if len(v.out) == mostOut {
		(*v.out[1])()
		v.out = slices.Delete(v.out, 1, 2)
	}
	ctx, cancel := context.WithCancel(v.ctx)
	v.out = append(v.out, &cancel)
	v.running.Go(func() {
		defer cancel()
		got, err := v.try(ctx)
		select {
		case v.outcomes <- outcome[T]{got, err, &cancel}:
		case <-v.ctx.Done(): // nobody waits for it any more
		}
	})
}

// over notes that an attempt has ended, and reports whether another had gone out in its place.
func (v *volley[T]) over(attempt *context.CancelFunc) (replaced bool) {
	i := slices.Index(v.out, attempt)
	if i < 0 {
		return true
	}
	v.out = slices.Delete(v.out, i, i+1)
	return false
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
