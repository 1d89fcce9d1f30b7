package attempt

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
)

const (
	// steadily is how many attempts go out one patience after the other. From then on
	// the distances double, up to so many times the patience: with a member or two that
	// have vanished it is not the next attempt that is missing. An attempt that fails at
	// once is no sign of that: the connections of a network that was away fail several in
	// a row, and a member that vanishes then is not to be waited for eight times as long.
	steadily, rarest = 3, 8
	// mostOut is how many attempts are out at once. The first of them stays out for as long
	// as it takes, since answers may be slower than all patience here; the oldest of the
	// others makes room for the next.
	mostOut = 4
)

// Hedge calls try until a call succeeds or is refused for good, or ctx ends. An attempt
// is not cancelled because it is slow: when it has not been answered for l.Patience the
// next goes out beside it, to another member where there is one, and the first answer
// counts. An attempt that fails otherwise is repeated after a pause. So try is called by
// several goroutines at once; a request that writes has to be one whose repetition is
// recognised. Calls of try have returned when Hedge does; those that were still out have
// been cancelled, which leaves open whether they took effect.
//
// The error of a call that ran out of ctx is both ctx's and that of the last attempt;
// when l.Until ends first, it is Until's cause.
func Hedge[T any](ctx context.Context, l Limits, try func(ctx context.Context) (T, error)) (T, error) {
	h := &hedge[T]{
		ctx: RequireLeader(ctx), limits: l, try: try,
		wait: l.Patience, pause: firstPause,
	}
	h.out = h.first[:0]
	if h.begin() {
		if l.Until != nil {
			stop := context.AfterFunc(l.Until, h.giveUp) // the caller is in the first attempt
			defer stop()
		}
		h.attempt()
	}
	if over := h.undecided(); over != nil {
		select {
		case <-over:
		case <-ctx.Done():
			h.giveUp()
		}
	}
	h.running.Wait()
	return h.value, h.err
}

// hedge is a call of Hedge.
type hedge[T any] struct {
	ctx     context.Context
	limits  Limits
	try     func(context.Context) (T, error)
	running sync.WaitGroup

	mu      sync.Mutex
	over    chan struct{} // closed when there is an outcome; nil as long as nobody waits for it
	timer   *time.Timer   // starts the next attempt
	started int
	silent  int                         // how many have gone out beside others since one failed
	out     []*context.CancelCauseFunc  // what ends the attempts under way, the oldest first
	first   [1]*context.CancelCauseFunc // what out is made of as long as there is one
	probes  []context.CancelFunc        // what ends those that were begun
	wait    time.Duration               // until the next goes out beside those
	pause   time.Duration               // until the next goes out after one has failed
	last    error                       // what the last attempt failed with
	began   time.Time
	decided bool
	value   T
	err     error
}

// undecided returns a channel that is closed when there is an outcome, nil if there is one. It
// is for the caller, once.
func (h *hedge[T]) undecided() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.decided {
		h.over = make(chan struct{})
	}
	return h.over
}

// begin has the second attempt go out in time, and reports whether the caller shall make
// the first.
func (h *hedge[T]) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil || h.limits.over() != nil {
		h.fail()
		return false
	}
	h.running.Add(1)
	h.timer = time.AfterFunc(h.wait, h.beside)
	h.began = time.Now()
	return true
}

// beside makes another attempt, by a goroutine of its own.
func (h *hedge[T]) beside() {
	h.mu.Lock()
	if h.decided {
		h.mu.Unlock()
		return
	}
	h.running.Add(1)
	if len(h.out) >= mostOut {
		(*h.out[1])(errOverdue)
		h.out = slices.Delete(h.out, 1, 2)
	}
	if h.silent++; h.silent >= steadily {
		h.wait = min(2*h.wait, rarest*h.limits.Patience)
	}
	h.timer.Reset(h.wait)
	overdue := len(h.out) > 0
	h.mu.Unlock()
	if overdue && h.limits.Caller != nil {
		h.running.Go(h.probe)
	}
	h.attempt()
}

// probe finds out why an attempt is overdue.
func (h *hedge[T]) probe() {
	ctx, cancel := context.WithTimeout(h.ctx, h.limits.Patience)
	defer cancel()
	h.mu.Lock()
	if h.decided {
		h.mu.Unlock()
		return
	}
	h.probes = append(h.probes, cancel)
	h.mu.Unlock()
	err := h.limits.Caller.probe(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.decided {
		return
	}
	if err == nil {
		err = errOverdue
	}
	if h.last == nil || err != errOverdue { //nolint:errorlint // it is that very error
		h.last = err
	}
	h.limits.tell(h.began, err)
}

// attempt calls try once and takes note of the outcome.
func (h *hedge[T]) attempt() {
	defer h.running.Done()
	ctx, cancel := context.WithCancelCause(h.ctx)
	defer cancel(nil)
	if !h.add(&cancel) {
		return
	}
	v, err := h.try(ctx)
	h.note(&cancel, v, err)
}

// add notes that an attempt goes out, unless there is an outcome.
func (h *hedge[T]) add(attempt *context.CancelCauseFunc) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.decided {
		return false
	}
	h.started++
	h.out = append(h.out, attempt)
	return true
}

// note takes the outcome of an attempt for that of the call, or has another made.
func (h *hedge[T]) note(attempt *context.CancelCauseFunc, v T, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.decided {
		return
	}
	replaced := true
	for i := range h.out {
		if h.out[i] == attempt {
			h.out = append(h.out[:i], h.out[i+1:]...)
			replaced = false
			break
		}
	}
	switch {
	case err == nil:
		h.limits.Caller.answered(h.limits.What)
		h.decide(v, nil)
	case replaced: // another has gone out already
		h.last = errOverdue
	case h.ctx.Err() != nil || h.limits.over() != nil:
		h.fail()
	case !Transient(err):
		var none T
		h.decide(none, brief(err))
	case len(h.out) > 0 && Code(err) == codes.DeadlineExceeded: // it has taken its time
		h.last = err
	default:
		h.last = err
		h.limits.tell(h.began, err)
		if h.limits.Caller != nil {
			Redial(h.limits.Caller.Client)
		}
		h.wait, h.silent = h.limits.Patience, 0
		h.timer.Reset(Spread(h.pause))
		h.pause = min(2*h.pause, maxPause)
	}
}

// giveUp ends the call because its time is over.
func (h *hedge[T]) giveUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.decided {
		h.fail()
	}
}

// fail decides the call because its time is over. mu must be held.
func (h *hedge[T]) fail() {
	var none T
	if h.last == nil && h.started > 1 {
		h.last = errOverdue
	}
	h.last = h.limits.Caller.unanswered(h.last)
	if h.ctx.Err() != nil {
		h.decide(none, Ended(h.ctx, h.last))
	} else {
		h.decide(none, h.limits.over())
	}
}

// decide ends the call and all attempts that are under way. mu must be held.
func (h *hedge[T]) decide(v T, err error) {
	h.decided, h.value, h.err = true, v, err
	if h.over != nil {
		close(h.over)
	}
	if h.timer != nil {
		h.timer.Stop()
	}
	for _, cancel := range h.out {
		(*cancel)(errDecided)
	}
	for _, cancel := range h.probes { // nobody waits for what they find out
		cancel()
	}
}

// errDecided says that an attempt is not needed any more.
var errDecided = errors.New("another attempt was answered")
