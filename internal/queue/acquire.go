package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

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
		g, again, err := e.queued(ctx, e.enqueue(ctx), c)
		if !again {
			return g, err
		}
	}
}

// queued waits for the entry's turn, if putting it has succeeded, and grants it. again
// is set if the acquisition shall begin anew.
func (e *entry) queued(ctx context.Context, put error, c *Call) (g *Grant, again bool, err error) {
	err = put
	if err == nil && e.waits() {
		e.tellWaiting(c)
		if err = e.wait(ctx); err == nil {
			e.mark()
		}
	}
	if err == nil {
		err = e.claim(ctx, c)
	}
	if err == nil {
		g, err = e.q.grant(ctx, e, c)
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
			e.free()
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
		e.free()
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
		e.log().Info("queue: waiter lost its lease and queues again", "cause", e.lease.Err())
	case errors.Is(why, rpctypes.ErrLeaseNotFound):
		if e.marks != nil {
			e.marks.renew(ctx)
		}
		if e.marks == nil || !e.marks.lost.Load() {
			return e.awaitLoss(ctx)
		}
	case errors.Is(why, errOwnGone):
		e.log().Warn("queue: entry was deleted while it waited; queueing again")
	case errors.Is(why, errForeign):
		e.log().Warn("queue: key of the entry is in use; taking another")
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

// awaitLoss waits until the lease has ended, which the server says it has, or ctx.
func (e *entry) awaitLoss(ctx context.Context) error {
	e.keys.Hurry()
	select {
	case <-e.lease.Context().Done():
		return nil
	case <-ctx.Done():
		return attempt.Ended(ctx, nil)
	}
}

func (e *entry) log() *slog.Logger {
	return e.q.Session.Logger().With("kind", e.q.Kind, "name", e.q.Name, "key", e.key())
}

// latePause is how long after a removal that found nothing a put is looked for that
// it may have overtaken.
const latePause = 50 * time.Millisecond

// remove deletes the entry in the background, whether or not it is known to exist.
// What cannot be removed is left to the lease's look.
func (e *entry) remove() {
	if e.created == 0 && e.unsettled == 0 {
		e.free()
		return
	}
	// In doubt first: if the lease is about to end, nobody runs what follows.
	e.doubt(e.created)
	e.keys.Go(func(ctx context.Context) {
		removed, err := e.delete(ctx)
		switch {
		case e.lease.Err() != nil: // which takes the entry with it
		case err != nil:
			e.log().Warn("queue: entry not removed; tried again with each look", "error", err)
		case removed || e.created != 0:
			e.gone()
		case attempt.Pause(ctx, latePause):
			// Of the puts cancelled on their way, one in a hundred is overtaken by
			// its own removal. Everybody would wait for it until the next look.
			e.keys.Hurry()
		}
	})
}

// gone takes the keys of an entry out of doubt that has been removed.
func (e *entry) gone() {
	for i := range e.legs {
		e.legs[i].slot.Gone(e.created)
	}
}

// delete removes the entry if it is the one we made, trying until ctx ends, and
// reports whether all of it was there.
func (e *entry) delete(ctx context.Context) (removed bool, err error) {
	conds, ops := e.removal()
	err = e.do(ctx, func(ctx context.Context) error {
		client := e.q.Session.Client()
		resp, err := client.Txn(ctx).If(conds...).Then(ops...).Commit()
		if err == nil && !resp.Succeeded && len(e.legs) > 1 {
			_, err = client.Txn(ctx).Then(e.remains()...).Commit()
		}
		if err != nil {
			e.undeleted = e.undeleted || attempt.Uncertain(err)
			return hopeless(ctx, err)
		}
		removed = resp.Succeeded
		return nil
	})
	return removed, err
}

// removal returns a transaction that deletes the entry if all of it is what we made.
func (e *entry) removal() (conds []clientv3.Cmp, ops []clientv3.Op) {
	ops = e.unmarking()
	for i := range e.legs {
		conds = append(conds, e.ours(e.legs[i].key))
		ops = append(ops, clientv3.OpDelete(e.legs[i].key))
	}
	return conds, ops
}

// remains returns operations that delete those of the entry's keys that are still what
// we made: nested transactions, which cost twice as much as one for all.
func (e *entry) remains() []clientv3.Op {
	ops := make([]clientv3.Op, len(e.legs))
	for i := range e.legs {
		key := e.legs[i].key
		ops[i] = clientv3.OpTxn([]clientv3.Cmp{e.ours(key)}, []clientv3.Op{clientv3.OpDelete(key)}, nil)
	}
	return ops
}

// ours returns the condition that key is what the entry put, whether or not that was
// acknowledged.
func (e *entry) ours(key string) clientv3.Cmp {
	if e.created == 0 {
		return clientv3.Compare(clientv3.Value(key), "=", e.value)
	}
	return clientv3.Compare(clientv3.CreateRevision(key), "=", e.created)
}

// mark puts an entry again that has come to own part of a weighted lane, in the
// background: its successor waits to hear of it, and until the next look if it does
// not.
func (e *entry) mark() {
	if e.legs[0].lane.permits == 0 {
		return
	}
	e.keys.Go(func(ctx context.Context) {
		again := clientv3.OpPut(e.key(), e.value, clientv3.WithLease(e.lease.ID()))
		_ = e.do(ctx, func(ctx context.Context) error {
			_, err := e.q.Session.Client().Txn(ctx).If(e.same()...).Then(again).Commit()
			return err
		})
	})
}

// event returns what an observer may want to know of the entry: whom it waits for, or
// has waited for last.
func (e *entry) event() lease.Event {
	after := e.followed
	if g := e.waitsAt(); g != nil {
		after = g.before
	}
	ev := lease.Event{Key: e.key(), Revision: e.created, Predecessor: after.key}
	if after.key != "" {
		ev.Followed = after.created
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
