package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/lease"
)

// Downgrade ends the grant of a writer and returns one of a reader, on the same
// entry: q says what it is from now on. Readers who wait are let in, writers are not.
//
// With a ctx that is done it fails and the grant goes on. If it fails otherwise, because
// the grant was lost, ctx ended, or the server refused, the entry is given up: after a
// put without an answer nobody can say what it was.
func (g *Grant) Downgrade(ctx context.Context, q *Queue) (*Grant, error) {
	if ctx.Err() != nil {
		return nil, attempt.Ended(ctx, nil)
	}
	c, ctx := q.begin(ctx)
	next, err := g.downgrade(ctx, q, c)
	c.Failed(err)
	return next, err
}

func (g *Grant) downgrade(ctx context.Context, q *Queue, c *Call) (*Grant, error) {
	if !g.endReleased() {
		return nil, g.Err()
	}
	within, done := g.Outlive(ctx, nil)
	defer done()
	e := g.entry
	if err := e.swap(within, e.record); err != nil {
		g.removeEntry(ctx)
		return nil, g.why(err)
	}
	as := *e // the old hold goes on being asked what it was
	as.q, as.followed = q, position{}
	next, err := q.grant(ctx, &as, c)
	if err != nil {
		g.removeEntry(ctx)
		return nil, g.why(err)
	}
	g.decide(nil)
	return next, nil
}

// why returns err, as a loss if it is one.
func (g *Grant) why(err error) error {
	if ended := g.entry.lease.Err(); ended != nil {
		return fmt.Errorf("%w: %w", g.errs.Lost, ended)
	}
	if errors.Is(err, errOwnGone) {
		return fmt.Errorf("%w: %w", g.errs.Lost, errDeleted)
	}
	return err
}

// endReleased ends the grant locally, as released, and reports whether this call did. A
// lease whose deadline has passed is found out now, unless the grant is nobody's: PassOn
// finds it out, too, and the clock costs more than all else here.
func (g *Grant) endReleased() bool {
	return g.ctx.Err() == nil && (g.quiet || g.Err() == nil) && g.end(g.errs.Released)
}

// Ended is a grant that was ended locally while its entry is still there. Whoever has ended
// it disposes of the entry, with exactly one of PassOn, Keep, Remove and Requeue.
type Ended struct {
	grant *Grant
	// Clean is set if nothing that was begun under the grant can take effect any more, so
	// that the entry can have another holder.
	Clean bool
}

// End ends the grant locally, and returns what has to be disposed of, nil if it had ended
// before.
func (g *Grant) End() *Ended {
	if !g.endReleased() {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return &Ended{grant: g, Clean: g.txns == 0 && !g.exposed}
}

// Releasing tells the observer, as [Grant.Releasing] does.
func (d *Ended) Releasing(ctx context.Context) context.Context { return d.grant.Releasing(ctx) }

// Via says how the entry came to own.
func (d *Ended) Via() lease.Via { return d.grant.Via() }

// Background runs fn in the background, with a context that ends with the grant's lease, and
// reports whether it does. Who closes the session waits for it a little before that.
func (g *Grant) Background(fn func(ctx context.Context)) bool { return g.entry.keys.Remove(fn) }

// PassOn returns a grant of the entry for its next holder in this process: one that has
// called with ctx as c, and comes to own as via says, with the entry handed on sequence
// times before. It fails if the lease has ended.
func (d *Ended) PassOn(ctx context.Context, c *Call, via lease.Via, sequence int) (*Grant, error) {
	next := &Grant{entry: d.grant.entry, errs: d.grant.errs}
	return d.replacedBy(next.start(c.caller(ctx), c, turn{via: via, sequence: sequence}))
}

// Keep is PassOn to nobody in particular, of whom the observer does not hear.
func (d *Ended) Keep() (*Grant, error) {
	nobody := &Grant{entry: d.grant.entry, errs: d.grant.errs, quiet: true}
	return d.replacedBy(nobody.start(d.grant.ctx, nil, turn{}))
}

// replacedBy decides the outcome of the release by the next grant of the entry.
func (d *Ended) replacedBy(next *Grant, err error) (*Grant, error) {
	if err != nil {
		d.grant.entry.unmark()
		d.grant.decide(d.grant.unconfirmed())
		return nil, err
	}
	d.grant.decide(nil)
	return next, nil
}

// Remove removes the entry. It returns what Release does.
func (d *Ended) Remove(ctx context.Context) error {
	d.grant.removeEntry(ctx)
	return d.grant.Release(ctx)
}

// Requeue gives up the entry and queues again at the end, in one transaction; apart from
// that it is Acquire. It asks for no lease before the entry is given up: the new one stands
// under the same.
func (d *Ended) Requeue(ctx context.Context) (*Grant, error) {
	old := d.grant.entry
	q := old.q
	if old.lease.Err() != nil {
		d.grant.removeEntry(ctx)
		return q.Acquire(ctx)
	}
	e := q.newEntry(old.lease)
	e.marks = old.marks
	old.becomeRemoving()
	err := e.enqueueAfter(ctx, old)
	if err == nil {
		old.becomeGone()
		d.grant.decide(nil)
	} else {
		d.grant.removeEntry(ctx)
	}
	next, again, err := e.queued(ctx, err, nil)
	if again {
		return q.Acquire(ctx)
	}
	return next, err
}

// Outlive returns ctx, unless the release of the grant has ended it, before which its
// error was as given: a holder's context is often derived from the grant, and what a
// release has to send comes after the grant's end. Then it returns one with the same
// deadline that also ends with the lease, and with the context that With was given. Other
// ends of ctx cannot be seen any more.
func (g *Grant) Outlive(ctx context.Context, before error) (context.Context, context.CancelFunc) {
	if before != nil || ctx.Err() == nil || !errors.Is(context.Cause(ctx), g.errs.Released) {
		return ctx, func() {}
	}
	bound, done := g.entry.bind(context.WithoutCancel(ctx))
	within, cancel := context.WithCancelCause(bound)
	stop, stopTimer := func() bool { return true }, func() {}
	if parent, ok := ctx.Value(given{g}).(context.Context); ok {
		stop = context.AfterFunc(parent, func() { cancel(attempt.Ended(parent, nil)) })
	}
	if deadline, ok := ctx.Deadline(); ok {
		within, stopTimer = context.WithDeadline(within, deadline)
	}
	return within, func() { stopTimer(); stop(); cancel(nil); done() }
}

// enqueueAfter puts the entry at the end of the queue and deletes the old one of the
// same queue.
func (e *entry) enqueueAfter(ctx context.Context, old *entry) error {
	conds, deletes := old.removal()
	conds = append(conds, e.absent())
	then := append(e.puts(len(deletes)+len(e.legs)), deletes...)
	for i := range e.legs {
		then = e.legs[i].lane.queued(then)
	}
	resp, err := e.put(ctx, e.putting(conds, then, nil))
	switch {
	case err != nil:
		if e.life.mayBePut() {
			old.life.deleteSent() // and not answered
		}
		return err
	case resp.Succeeded:
		e.arrange(resp.Responses[len(e.legs)+len(deletes):], resp.Header.Revision)
		return nil
	case first(resp, 0) == nil: // the old one is gone
		return errOwnGone
	}
	return e.adopt(resp, nil)
}
