package queue

import (
	"cmp"
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/look"
)

// latePause is how long after a removal that found nothing a put is looked for that
// it may have overtaken.
const latePause = 50 * time.Millisecond

// remove deletes the entry in the background, whether or not it is known to exist.
// What cannot be removed is left to the lease's look.
func (e *entry) remove() {
	e.recount()
	if !e.mayExist() {
		e.becomeGone()
		return
	}
	byValue := e.created == 0 && e.q.Raw // the next entry of the key may have the same
	if byValue {
		e.eachSlot((*look.Slot).Pin)
	}
	// Unsettled first: if the lease is about to end, nobody runs what follows.
	e.becomeUnsettled()
	e.keys.Remove(func(ctx context.Context) {
		if !e.crowd.joining.pass(ctx) { // the lease has ended
			return
		}
		defer e.crowd.joining.leave()
		e.removeUnsettled(ctx)
		if byValue && e.life.undeleted() == 0 { // else one may come late: the keys stay in doubt
			e.eachSlot((*look.Slot).Unpin)
		}
	})
}

func (e *entry) eachSlot(do func(*look.Slot)) {
	for i := range e.legs {
		do(e.legs[i].slot)
	}
}

// removeUnsettled deletes an entry that the looks take care of, too.
func (e *entry) removeUnsettled(ctx context.Context) {
	removed, err := e.delete(ctx)
	switch {
	case e.lease.Err() != nil: // which takes the entry with it
	case err != nil:
		e.tell(slog.LevelWarn, "queue: entry not removed; tried again with each look", "error", err)
	case removed || e.created != 0:
		e.removed()
	case attempt.Pause(ctx, latePause):
		// Of the puts cancelled on their way, one in a hundred is overtaken by
		// its own removal. Everybody would wait for it until the next look.
		if removed, err := e.delete(ctx); removed && err == nil {
			e.removed()
			return
		}
		e.keys.Soon()
	}
}

// delete removes the entry if it is the one we made, trying until ctx ends, and
// reports whether all of it was there.
func (e *entry) delete(ctx context.Context) (removed bool, err error) {
	if !e.passLeaving(ctx) {
		return false, cmp.Or(e.lease.Err(), attempt.Ended(ctx, nil))
	}
	defer e.crowd.leaving.leave()
	p := &part{entry: e, shared: e.shareable() && e.created != 0}
	p.conds, p.then = e.removal()
	limits := e.limits()
	limits.Patience = hurried(ctx, limits.Patience)
	var did atomic.Bool // also by an attempt beside the one that found nothing
	_, err = attempt.Hedge(ctx, limits, func(ctx context.Context) (bool, error) {
		e.life.deleteSent()
		resp, err := e.crowd.removals.commit(ctx, p)
		if err == nil && !resp.Succeeded && len(e.legs) > 1 {
			_, err = e.q.Session.Client().Txn(ctx).Then(e.remains()...).Commit()
		}
		removed := err == nil && resp.Succeeded
		e.life.deleteAnswered(removed, err)
		if removed {
			did.Store(true)
		}
		return removed, err
	})
	return did.Load(), err
}

// passLeaving passes the gate leaving, unless ctx ends before, or the entry's lease.
func (e *entry) passLeaving(ctx context.Context) bool {
	if e.crowd.leaving.passAtOnce() {
		return true
	}
	bound, done := e.bind(ctx)
	defer done()
	return e.crowd.leaving.pass(bound)
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

// announce puts an entry again that has come to own part of a weighted lane, in the
// background: its successor waits to hear of it, and until the next look if it does
// not.
func (e *entry) announce() {
	if e.legs[0].lane.permits == 0 {
		return
	}
	e.keys.Go(func(ctx context.Context) {
		again := clientv3.OpPut(e.key(), e.value, clientv3.WithLease(e.lease.ID()))
		_, _ = e.commit(ctx, e.same(), []clientv3.Op{again}, nil)
	})
}
