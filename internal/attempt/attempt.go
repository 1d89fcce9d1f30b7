// Package attempt repeats RPCs, so that a member which has vanished silently does not
// cost the caller's whole context: the next attempt goes out, and can reach another
// member, beside one that is merely slow ([Hedge]) or after one that had its time (Do).
// All attempts require a leader, so that a member which is cut off from its peers refuses
// them at once.
package attempt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// firstPause and maxPause bound the wait between two tries. A refused
	// connection fails within microseconds, so without a pause an outage would
	// be a busy loop.
	firstPause = 20 * time.Millisecond
	maxPause   = time.Second
)

// Transient reports whether err may go away by itself, so that a repetition
// makes sense. It says nothing about whether the failed call took effect.
func Transient(err error) bool {
	if _, shared := errors.AsType[sharedError](err); shared || errors.Is(err, errOverdue) {
		return true
	}
	switch Code(err) {
	case codes.Unavailable:
		return !malformed(err)
	case codes.DeadlineExceeded, codes.Internal, codes.Aborted:
		return true
	case codes.ResourceExhausted:
		return !errors.Is(err, rpctypes.ErrNoSpace) && !TooLarge(err)
	case codes.Unauthenticated:
		// An expired token; clientv3 fetches a new one for the next call.
		return true
	case codes.FailedPrecondition:
		// The permissions changed between check and apply; a learner refuses what
		// another member answers.
		return errors.Is(err, rpctypes.ErrAuthOldRevision) || errors.Is(rpctypes.Error(err), errLearner)
	case codes.InvalidArgument:
		return errors.Is(err, rpctypes.ErrAuthOldRevision)
	case codes.Unknown:
		// What a member says whose leader is changing, and one that was removed from the
		// cluster and is about to stop; etcd has no names for them.
		return strings.Contains(err.Error(), "raft proposal dropped") || strings.Contains(err.Error(), "raft: stopped")
	default:
		return false
	}
}

// Shared returns the error for each of those whose requests went out as one, which failed
// with err: it may be another's, so that a repetition of each alone makes sense.
func Shared(err error) error { return sharedError{err} }

type sharedError struct{ error }

func (e sharedError) Unwrap() error { return e.error }

// Uncertain reports whether a call that failed with err may have taken effect, or
// may still. A refusal by the server is certain.
func Uncertain(err error) bool {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled): // whatever the last attempt said
		return true
	case errors.Is(rpctypes.Error(err), rpctypes.ErrNoLeader):
		// A member says so before it looks at the request.
		return false
	case errors.Is(err, rpctypes.ErrNoSpace):
		// A transaction that crosses the quota is applied and then answered so.
		return true
	case TooLarge(err): // if it is not the request it may be the answer
		return !errors.Is(err, rpctypes.ErrRequestTooLarge) && !strings.HasPrefix(status.Convert(err).Message(), unsent)
	}
	switch Code(err) {
	case codes.Canceled, codes.Unknown, codes.DeadlineExceeded, codes.Aborted, codes.Internal, codes.Unavailable, codes.DataLoss:
		return true
	default:
		return false
	}
}

// What gRPC says of a message that is larger than one side takes, and of one that this
// side has not sent therefore.
const (
	tooLarge = "larger than max"
	unsent   = "trying to send message"
)

// TooLarge reports whether a call failed because its request, or the answer, is larger
// than a message may be: it will be so the next time.
func TooLarge(err error) bool {
	if errors.Is(err, rpctypes.ErrRequestTooLarge) {
		return true
	}
	return Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), tooLarge)
}

// errLearner is what a learner says that is asked for what only voting members answer.
var errLearner = rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner)

// Code returns the gRPC code of an error from clientv3, which is an
// [rpctypes.EtcdError] for errors the server has a name for and a status
// otherwise.
func Code(err error) codes.Code {
	if named, ok := errors.AsType[rpctypes.EtcdError](rpctypes.Error(err)); ok {
		return named.Code()
	}
	return status.Code(err)
}

// Limits says how long a call is tried.
type Limits struct {
	// Patience is how long [Hedge] waits for an answer before it makes another attempt
	// beside the first.
	Patience time.Duration
	// Timeout bounds each try of Do and Once, which must not overlap.
	Timeout time.Duration
	// Until ends the call besides its own context, if not nil.
	Until context.Context
	// Caller, if not nil, is told when there is no answer, and says in the error where.
	Caller *Caller
	// What is what the caller waits for: "lease: grant".
	What string
}

// Do calls try with a context that ends after timeout, until it succeeds, fails
// for good or ctx ends. The error of a call that ran out of ctx is both ctx's
// and that of the last try.
func Do(ctx context.Context, timeout time.Duration, try func(context.Context) error) error {
	return Limits{Timeout: timeout}.Do(ctx, try)
}

// Once calls try with a context that ends after timeout.
func Once(ctx context.Context, timeout time.Duration, try func(context.Context) error) error {
	return Limits{Timeout: timeout}.Once(ctx, try)
}

// Do is like the function Do. When Until ends first, the error is the last try's or
// Until's cause.
func (l Limits) Do(ctx context.Context, try func(context.Context) error) error {
	pause := firstPause
	for {
		err := l.Once(ctx, try)
		if err == nil || l.over() != nil || (ctx.Err() == nil && !Transient(err)) {
			return err
		}
		if !l.pause(ctx, pause) {
			return Ended(ctx, err)
		}
		if why := l.over(); why != nil {
			return why
		}
		pause = min(2*pause, maxPause)
	}
}

// over returns why Until has ended, nil if it has not.
func (l Limits) over() error {
	if l.Until == nil {
		return nil
	}
	return context.Cause(l.Until)
}

// pause is Pause, cut short by the end of Until.
func (l Limits) pause(ctx context.Context, d time.Duration) bool {
	if l.Until == nil {
		return Pause(ctx, d)
	}
	short, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(l.Until, cancel)
	defer stop()
	Pause(short, d)
	return ctx.Err() == nil
}

// errOverdue says that a try had no answer within its timeout.
var errOverdue = errors.New("no answer in time")

// Once makes one try. A context with a deadline would do, but gRPC sends deadlines
// along and the server then keeps a timer for each request: 3 µs, a twentieth of a
// write on loopback.
func (l Limits) Once(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(l.Timeout, func() { cancel(errOverdue) })
	defer timer.Stop()
	if l.Until != nil {
		stop := context.AfterFunc(l.Until, func() { cancel(l.over()) })
		defer stop()
	}
	err := try(RequireLeader(ctx))
	if err != nil && errors.Is(context.Cause(ctx), errOverdue) {
		return fmt.Errorf("%w: %w", errOverdue, err)
	}
	return err
}

// Pause waits for d, give or take a quarter so that clients hit by one outage
// do not come back in step, and reports whether ctx is still going.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(Spread(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// Spread returns d, give or take a quarter.
func Spread(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)/2*float64(d))
}

// Ended returns the error of a call that was given up because ctx is done:
// ctx's own error, its cause, and what the last try failed with.
func Ended(ctx context.Context, last error) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	switch {
	case last == nil || errors.Is(err, last):
		return err
	case errors.Is(last, ctx.Err()): // it says so already
		return last
	}
	return fmt.Errorf("%w (last attempt: %w)", err, last)
}
