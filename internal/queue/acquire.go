package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/lease"
)

// Acquire waits until this caller's entry may own and returns the grant. It
// fails only when ctx ends, when the session does, or when the server refuses; the
// entry is then removed in the background.
func (q *Queue) Acquire(ctx context.Context) (*Grant, error) {
	c, ctx := q.begin(ctx)
	g, err := q.acquire(ctx, c)
	c.Failed(err)
	return g, err
}

func (q *Queue) acquire(ctx context.Context, c *Call) (*Grant, error) {
	for {
		e, err := q.place(ctx)
		if err != nil {
			return nil, err
		}
		e.crowd.add(e)
		g, again, err := e.queued(ctx, e.join(ctx), c)
		e.crowd.drop(e)
		if !again {
			return g, err
		}
	}
}

// join enqueues the entry when its turn among the session's crowd has come.
func (e *entry) join(ctx context.Context) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.crowd.joining.leave()
	return e.enqueue(ctx)
}

// queued waits for the entry's turn, if putting it has succeeded, and grants it. again
// is set if the acquisition shall begin anew.
func (e *entry) queued(ctx context.Context, put error, c *Call) (g *Grant, again bool, err error) {
	if err = put; err == nil {
		g, err = e.awaitTurn(ctx, c)
	}
	if err == nil {
		return g, false, nil
	}
	why := err
	if err = e.giveUp(ctx, why); err == nil {
		c.Waited(e.cause(why))
	}
	return nil, err == nil, err
}

// awaitTurn waits until nothing is in the entry's way, and grants it.
func (e *entry) awaitTurn(ctx context.Context, c *Call) (*Grant, error) {
	if e.waits() {
		e.tellWaiting(c)
		if err := e.wait(ctx); err != nil {
			return nil, err
		}
		e.announce()
	}
	if err := e.claim(ctx, c); err != nil {
		return nil, err
	}
	return e.q.grant(ctx, e, c)
}

// TryAcquire acquires if nobody is in the way, without waiting. Otherwise taken is set
// and head says who is first; nothing was written then.
func (q *Queue) TryAcquire(ctx context.Context) (g *Grant, head Occupant, taken bool, err error) {
	c, ctx := q.begin(ctx)
	g, head, taken, err = q.tryAcquire(ctx, c)
	c.Failed(err)
	if taken {
		c.Taken(q.Errors.Taken)
	}
	return g, head, taken, err
}

func (q *Queue) tryAcquire(ctx context.Context, c *Call) (g *Grant, head Occupant, taken bool, err error) {
	for {
		e, err := q.place(ctx)
		if err != nil {
			return nil, Occupant{}, false, err
		}
		head, taken, err := e.tryEnqueue(ctx)
		if err == nil && taken {
			e.remove() // an attempt without an answer may yet put it
			return nil, head, true, nil
		}
		if err == nil {
			if g, err := q.grant(ctx, e, c); err == nil {
				return g, Occupant{}, false, nil
			}
		}
		if err := e.giveUp(ctx, err); err != nil {
			return nil, Occupant{}, false, err
		}
	}
}

// place reserves a place under the session's live lease.
func (q *Queue) place(ctx context.Context) (*entry, error) {
	for {
		l, err := inside.Of(q.Session).Roomy(ctx)
		if err != nil {
			return nil, err
		}
		e := q.newEntry(l)
		if err = e.markable(ctx); err == nil {
			return e, nil
		}
		e.becomeGone()
		if ctx.Err() != nil || l.Err() == nil {
			return nil, err
		}
	}
}

// cause returns the loss of the entry's lease if there was one, and else why.
func (e *entry) cause(why error) error {
	if lost := e.lease.Err(); lost != nil {
		return lost
	}
	return why
}

// giveUp lets go of an entry that could not be granted because of why, and returns
// nil if the acquisition shall begin anew: the lease was lost, or an operator deleted
// the entry.
func (e *entry) giveUp(ctx context.Context, why error) error {
	e.remove()
	switch {
	case ctx.Err() != nil:
		return e.behind(attempt.Ended(ctx, why))
	case e.lease.Err() != nil:
		e.tell(slog.LevelInfo, "queue: waiter lost its lease and queues again", "cause", e.lease.Err())
	case errors.Is(why, rpctypes.ErrLeaseNotFound):
		return e.awaitLoss(ctx)
	case errors.Is(why, errOvertaken):
	case errors.Is(why, errOwnGone):
		e.tell(slog.LevelWarn, "queue: entry was deleted while it waited; queueing again")
	case errors.Is(why, errForeign):
		e.tell(slog.LevelWarn, "queue: key of the entry is in use; taking another")
	default:
		return why
	}
	return nil
}

// behind adds to the error of a wait that was given up what it was for, if that is known.
func (e *entry) behind(err error) error {
	switch after := e.event(); {
	case e.lost.Owner != "":
		return fmt.Errorf("waiting for the delay after %q was lost: %w", e.lost.Owner, err)
	case after.Followed != 0 && after.Predecessor != "":
		return fmt.Errorf("waiting behind key %q of revision %d: %w", after.Predecessor, after.Followed, err)
	}
	return err
}

// awaitLoss waits until the lease has ended, or that of its mark, one of which the server says
// has, or ctx.
func (e *entry) awaitLoss(ctx context.Context) error {
	e.keys.Hurry()
	var lost <-chan struct{}
	if e.marks != nil {
		e.marks.renew(ctx) // if that has no answer, the next renewal does
		lost = e.marks.lost
	}
	select {
	case <-lost:
		return nil
	case <-e.lease.Context().Done():
		return nil
	case <-ctx.Done():
		return attempt.Ended(ctx, nil)
	}
}

func (e *entry) log() *slog.Logger {
	return e.q.Session.Logger().With("kind", e.q.Kind, "name", e.q.Name, "key", e.key())
}

// event returns what an observer may want to know of the entry: whom it waits for, or
// has waited for last.
func (e *entry) event() lease.Event {
	after := e.followed
	if g := e.waitsAt(); g != nil {
		after = g.before
	}
	ev := lease.Event{Key: e.key(), Revision: e.created}
	if entry := after.entry(); entry.key != "" {
		ev.Predecessor, ev.Followed = entry.key, entry.created
	}
	return ev
}

// tellWaiting tells that the entry waits: on behalf of its call, or those who are behind
// a quiet one.
func (e *entry) tellWaiting(c *Call) {
	if c != nil {
		c.Waiting(e.event())
	} else if e.q.Waits != nil {
		e.q.Waits(e.event())
	}
}
