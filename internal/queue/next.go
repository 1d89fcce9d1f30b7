package queue

import (
	"context"
	"time"

	"github.com/conclave-go/conclave/internal/attempt"
)

// Downgrade ends the grant of a writer and returns one of a reader, on the same
// entry: q says what it is from now on. Readers who wait are let in, writers are not.
//
// If it fails, because the grant was lost, ctx ended, or the server refused, the entry
// is given up: after a put without an answer nobody can say what it was.
func (g *Grant) Downgrade(ctx context.Context, q *Queue) (*Grant, error) {
	began := time.Now()
	if !g.leave() {
		return nil, g.Err()
	}
	e := g.entry
	bound, done := e.bind(ctx)
	defer done()
	if err := e.swap(bound, e.record); err != nil {
		g.settle(ctx)
		return nil, err
	}
	e.q = q
	next, err := q.grant(ctx, e, began)
	if err != nil {
		g.settle(ctx)
		return nil, err
	}
	g.settled(nil)
	return next, nil
}

// leave ends the grant locally and reports whether this call did.
func (g *Grant) leave() bool { return g.Err() == nil && g.end(g.errs.Released) }

// Leave ends the grant locally and reports whether this call did: if so, the entry has
// to be disposed of with Next, Drop or Reacquire. clean is set if nothing that was
// begun under the grant can take effect any more, so that the entry can have another
// holder.
func (g *Grant) Leave() (left, clean bool) {
	if !g.leave() {
		return false, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return true, g.txns == 0 && !g.exposed
}

// Next returns a grant of the entry for its next holder in this process, after Leave.
// The holder began to wait when told; for nobody in particular began is zero, and the
// observer does not hear of it. It fails if the lease has ended.
func (g *Grant) Next(ctx context.Context, began time.Time) (*Grant, error) {
	next, err := g.entry.q.grantTo(ctx, g.entry, began, began.IsZero())
	if err != nil {
		g.settled(g.unconfirmed())
		return nil, err
	}
	g.settled(nil)
	return next, nil
}

// Drop removes the entry, after Leave. It returns what Release does.
func (g *Grant) Drop(ctx context.Context) error {
	g.settle(ctx)
	return g.Release(ctx)
}

// Reacquire gives up the entry, after Leave, and queues again at the end, in one
// transaction; apart from that it is Acquire.
func (q *Queue) Reacquire(ctx context.Context, g *Grant) (*Grant, error) {
	began := time.Now()
	e, err := q.place(ctx)
	if err != nil {
		g.settle(ctx)
		return nil, err
	}
	err = e.enqueueAfter(ctx, g.entry)
	if err == nil {
		g.entry.free()
		g.settled(nil)
	} else {
		g.settle(ctx)
	}
	next, again, err := e.queued(ctx, err, began)
	if again {
		return q.Acquire(ctx)
	}
	return next, err
}

// enqueueAfter puts the entry at the end of the queue and deletes the old one of the
// same queue.
func (e *entry) enqueueAfter(ctx context.Context, old *entry) error {
	conds, then := old.removal()
	deletes := len(then)
	for i := range e.legs {
		then = append(then, e.legs[i].lane.queued()...)
	}
	resp, err := e.put(ctx, conds, then, nil)
	switch {
	case err != nil:
		old.undeleted = old.undeleted || attempt.Uncertain(err)
		return err
	case resp.Succeeded:
		return e.arrange(resp.Responses[len(e.legs)+deletes:], resp.Header.Revision)
	case first(resp, 0) == nil: // the old one is gone
		return errOwnGone
	}
	return e.adopt(resp)
}
