package redlock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-go/conclave/internal/clock"
)

// Hold is one acquisition of a lock. It lasts until it is unlocked or lost, and is
// not used again: the next Lock returns another. All methods may be called from
// several goroutines. The zero value is not valid.
//
// There is no token: nothing that the nodes agree on increases from one holder to the
// next.
type Hold struct {
	m      *Mutex
	claim  *claim
	call   *call // what observers were told of it, nil if nothing
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *clock.Timer // ends the hold at its deadline
	renew  *clock.Timer // nil without renewal

	mu       sync.Mutex
	ended    bool
	until    clock.Instant // the deadline, suspension counted
	wall     time.Time     // the deadline as callers see it
	derived  map[*context.CancelCauseFunc]struct{}
	released *round // of the removal, once ended
}

// newHold returns the hold of a claim that a quorum has granted in round r, unless
// its deadline has passed or the nodes are closed.
func newHold(ctx context.Context, c *claim, r *round, by *call) (*Hold, error) {
	h := &Hold{m: c.m, claim: c, call: by}
	h.ctx, h.cancel = context.WithCancelCause(context.WithoutCancel(by.caller(ctx)))
	h.mu.Lock() // the timers may fire before all is set
	defer h.mu.Unlock()
	h.until, h.wall = c.m.deadline(r)
	if clock.Until(h.until) <= 0 {
		return nil, errLate
	}
	if !c.m.nodes.add(h) {
		return nil, ErrClosed
	}
	by.granted()
	h.timer = clock.AfterFunc(h.until, h.expire)
	if !c.m.cfg.manual {
		h.renew = clock.AfterFunc(r.start.Add(c.m.cfg.ttl/roundsPerTTL), h.keep)
	}
	return h, nil
}

// Context returns a context with the values of Lock's, but not its cancellation. It
// is done when the hold ends: at the deadline at the latest, whatever the network does.
// Its cause wraps [ErrLost] or [ErrReleased].
func (h *Hold) Context() context.Context {
	if h.check() != nil {
		return neverHeld
	}
	return h.ctx
}

// neverHeld is the context of the zero Hold.
var neverHeld = func() context.Context { //nolint:gochecknoglobals // a constant
	ctx, cancel := context.WithCancelCause(context.Background()) //nolint:forbidigo // over from the start
	cancel(errNoHold)
	return ctx
}()

// check refuses the zero Hold.
func (h *Hold) check() error {
	if h == nil || h.m == nil {
		return errNoHold
	}
	return nil
}

// With returns a copy of ctx that also ends when the hold does, with the same cause. The
// returned function releases its resources.
func (h *Hold) With(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if err := h.Err(); err != nil {
		cancel(err)
		return ctx, func() {}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		cancel(context.Cause(h.ctx))
		return ctx, func() {}
	}
	// Not context.AfterFunc: its goroutine may run after the key is deleted.
	if h.derived == nil {
		h.derived = make(map[*context.CancelCauseFunc]struct{})
	}
	h.derived[&cancel] = struct{}{}
	return ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.derived, &cancel)
		cancel(nil)
	}
}

// Name returns the lock's name.
func (h *Hold) Name() string {
	if h.check() != nil {
		return ""
	}
	return h.m.name
}

// Deadline returns the time until which the nodes, as far as they do what Redlock assumes,
// grant the lock to nobody else: the time when the last confirmed request was sent, plus
// the TTL, less the allowance for drift. Extensions move it forward; once the hold has
// ended it is no longer in the future.
func (h *Hold) Deadline() time.Time {
	if h.check() != nil {
		return time.Time{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wall
}

// Remaining returns the time left until the deadline, system suspension counted where the
// platform reports it (Linux). Zero or less means that the hold is over.
func (h *Hold) Remaining() time.Duration {
	if h.check() != nil {
		return 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return clock.Until(h.until)
}

// Err returns nil while the lock is held, and otherwise the cause of the hold's end, which
// wraps [ErrLost] or [ErrReleased].
func (h *Hold) Err() error {
	if err := h.check(); err != nil {
		return err
	}
	h.mu.Lock()
	expired := !h.ended && clock.Until(h.until) <= 0
	h.mu.Unlock()
	if expired {
		h.expire() // the timer may not have got round to it
	}
	return context.Cause(h.ctx)
}

// Extend moves the deadline to a TTL from now, less the allowance for drift. It asks each
// node once and returns as soon as a quorum has confirmed, at the latest after the node
// timeout. If three extensions are already under way, no other is sent: the call then waits
// for the last of these, and the TTL counts from when that one was sent. Holds extend
// themselves three times per TTL, unless [WithoutRenewal].
//
// A [*QuorumError], or ctx's error, means that the deadline stays where it was, unless the
// answers come after all; the call may be repeated. An error that is [ErrLost] or
// [ErrReleased] means that the hold is over: a hold whose key is missing on too many nodes
// ends here, and none comes back after its deadline.
func (h *Hold) Extend(ctx context.Context) error {
	if err := h.Err(); err != nil {
		return err
	}
	if ctx == nil {
		return errNilContext
	}
	if ctx.Err() != nil {
		return fmt.Errorf("redlock: extending %q: %w", h.m.name, ended(ctx, nil))
	}
	start := time.Now()
	r := h.claim.extend(ctx, h.prolong)
	err := r.wait(ctx)
	if err != nil {
		err = fmt.Errorf("redlock: extending %q: %w", h.m.name, err)
	} else {
		err = h.extended(r)
	}
	if h.Err() == nil {
		h.call.extended(h.ctx, ctx, start, err)
	}
	return err
}

// extended draws the consequences of an extension round.
func (h *Hold) extended(r *round) error {
	switch {
	case r.granted(): // and prolonged
	case r.lost():
		h.lose(errDenied)
	case h.Err() == nil:
		return r.failure()
	}
	return h.Err()
}

// prolong moves the deadline after a quorum has confirmed r, however late, unless the hold
// has ended: an answer from after the deadline revives nothing.
func (h *Hold) prolong(r *round) {
	until, wall := h.m.deadline(r)
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended && clock.Until(h.until) > 0 && until > h.until {
		h.until, h.wall = until, wall
		h.timer.Reset(until)
	}
}

// Unlock ends the hold, locally at once, and removes its key from the nodes. It returns
// once a quorum has done so, at the latest after the node timeout; the rest happens in the
// background. Nodes that cannot have the key, since they refused it or were not asked,
// count as done: nil may be returned while a majority hangs. It returns an error that wraps
// [ErrLost] if the hold was lost before, or if so many nodes no longer had its key that
// another could have been granted.
//
// ctx bounds only the wait: if it is done first, its error is returned and the removal goes
// on, so that defer h.Unlock(r.Context()) is right. A [*QuorumError] means that the removal
// goes on as well: the lock was held up to the call, and is free after the TTL at the
// latest. Unlock may be called again, and returns the same.
func (h *Hold) Unlock(ctx context.Context) error {
	switch {
	case h.check() != nil:
		return errNoHold
	case ctx == nil:
		return errNilContext
	}
	alive := ctx.Err() == nil
	if h.Err() != nil || !h.end(ErrReleased) {
		return h.removed(ctx)
	}
	// A holder's context is often derived from the hold, whose end is not the one
	// that is meant. The wait is short: the node timeout.
	if alive && ctx.Err() != nil && errors.Is(context.Cause(ctx), ErrReleased) {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, tell := h.call.releasing(ctx)
	err := h.removed(ctx)
	tell(err)
	return err
}

// removed waits for the removal and says what came of it, or of the hold before.
func (h *Hold) removed(ctx context.Context) error {
	if err := context.Cause(h.ctx); !errors.Is(err, ErrReleased) {
		return err
	}
	h.mu.Lock()
	r := h.released
	h.mu.Unlock()
	if err := r.wait(ctx); err != nil {
		return fmt.Errorf("redlock: unlocking %q: it goes on in the background: %w", h.m.name, err)
	}
	switch t := r.tally(); {
	case t.granted >= r.m.nodes.quorum():
		return nil
	case r.lost():
		return fmt.Errorf("%w: %w", ErrLost, errDenied)
	case t.granted+t.denials() >= r.m.nodes.quorum():
		return nil
	}
	return r.failure()
}

// expire ends the hold because its deadline has passed.
func (h *Hold) expire() { h.lose(errDeadline) }

// lose ends the hold because of why.
func (h *Hold) lose(why error) {
	if h.end(fmt.Errorf("%w: %w", ErrLost, why)) {
		h.m.nodes.cfg.log.Warn("redlock: lost", "name", h.m.name, "cause", why)
	}
}

// end makes the hold over, unless it is, and reports whether this call did. All
// contexts have ended before a node is told.
func (h *Hold) end(cause error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return false
	}
	h.ended = true
	h.until = min(h.until, clock.Now())
	if now := time.Now(); now.Before(h.wall) { // the clocks differ by suspensions
		h.wall = now
	}
	h.cancel(cause)
	for cancel := range h.derived {
		(*cancel)(cause)
	}
	h.derived = nil
	h.timer.Stop()
	if h.renew != nil {
		h.renew.Stop()
	}
	// Also after a loss: an extension that had no answer may keep the lock from
	// others for another TTL.
	h.released = h.claim.remove(h.ctx)
	h.m.nodes.remove(h)
	h.call.released(h.ctx, cause)
	return true
}

// do calls fn and unlocks, also when fn panics.
func (h *Hold) do(ctx context.Context, fn func(ctx context.Context, h *Hold) error) (err error) {
	defer func() {
		longer, stop := outlasting(ctx, h.m.nodes.cfg.grace)
		defer stop()
		// Any other error means that the lock was held to the end, and that its
		// removal goes on.
		if unlocked := h.Unlock(longer); errors.Is(unlocked, ErrLost) {
			err = errors.Join(err, unlocked)
		}
	}()
	within, cancel := h.With(ctx)
	defer cancel()
	return fn(within, h)
}

// outlasting returns a context with the values of ctx that ends d after it. The returned
// function releases its resources.
func outlasting(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, end := context.WithCancelCause(context.WithoutCancel(ctx))
	timers := make(chan *time.Timer, 1)
	stop := context.AfterFunc(ctx, func() {
		timers <- time.AfterFunc(d, func() { end(context.Cause(ctx)) })
	})
	return longer, func() {
		if !stop() && ctx.Err() != nil {
			(<-timers).Stop()
		}
		end(nil)
	}
}
