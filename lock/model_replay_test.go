package lock_test

import (
	"context"
	"errors"
	"slices"
	"testing/synctest"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// refusal is an error of Unlock.
type refusal struct {
	of  *acquisition
	err error
}

// judgeRefusals checks that Unlock has failed only for those whose entries were disturbed. mu must be held.
func (w *world) judgeRefusals() {
	for _, r := range w.refused {
		lost := errors.Is(r.err, lock.ErrLost) || errors.Is(r.err, lease.ErrLost) || errors.Is(r.err, lease.ErrClosed)
		if !lost || !w.disturbed(r.of) {
			w.fail("%s: unlock: %w", r.of.id, r.err)
		}
	}
	w.refused = nil
}

// disturbed reports whether x's entry may have gone without its doing. mu must be held.
func (w *world) disturbed(x *acquisition) bool {
	c := w.clients[x.by]
	return x.overrule || c.closed || c.losses.Load() > c.before
}

// replay follows the events of the queue's keys, to find which entries have ever owned the lock.
func (w *world) replay() {
	for ; len(w.history) > 0; synctest.Wait() { // it holds one batch at a time
		for _, ev := range (<-w.history).Events {
			if ev.IsCreate() {
				w.stands = append(w.stands, ev.Kv)
			} else if ev.Type == clientv3.EventTypeDelete {
				w.stands = slices.DeleteFunc(w.stands, func(kv *mvccpb.KeyValue) bool { return string(kv.Key) == string(ev.Kv.Key) })
			}
			if len(w.stands) > 0 {
				w.owned[w.stands[0].CreateRevision] = true
			}
		}
	}
}

// end compares how things are after a step with the model.
func (w *world) end() {
	w.inStep.Wait()
	w.replay()
	queue := w.queue()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.judgeRefusals()
	rank := make(map[string]int)
	for i, e := range queue {
		rank[e.Owner] = i
	}
	for _, x := range w.all {
		if x.over {
			if _, ok := rank[x.id]; ok {
				w.fail("%s: there is an entry of an acquisition that is over", x.id)
			}
			continue
		}
		if x.hold != nil && !w.owned[x.hold.Token().Revision()] {
			w.fail("%s: granted entry %v, which has never been first", x.id, x.hold.Token())
		}
		if i, ok := rank[x.id]; ok {
			w.inQueue(x, i, queue[i].Token)
		} else {
			w.notInQueue(x)
		}
		delete(rank, x.id)
		x.overrule = false
	}
	for id := range rank {
		w.fail("%s: there is an entry that nobody knows", id)
	}
	for _, c := range w.clients {
		if c.closed {
			w.mu.Unlock()
			w.newSession(c)
			w.mu.Lock()
		}
	}
}

// inQueue checks an acquisition whose entry is there. mu must be held.
func (w *world) inQueue(x *acquisition, rank int, token lock.Token) {
	held := x.hold != nil && x.hold.Err() == nil
	switch {
	case x.leaving, x.err != nil:
		w.fail("%s: left its entry behind (error: %v)", x.id, x.err)
	case rank == 0 && !held:
		w.fail("%s: the lock is its, but it has not been granted (returned: %v)", x.id, x.done)
	case rank > 0 && x.done:
		w.fail("%s: granted as number %d of the queue", x.id, rank)
	case held && x.hold.Token() != token:
		w.fail("%s: has token %v, its entry %v", x.id, x.hold.Token(), token)
	case x.token != 0 && x.token != token && !w.disturbed(x):
		w.fail("%s: lost its place: entry %v is now %v", x.id, x.token, token)
	}
	x.token = token
}

// notInQueue checks an acquisition whose entry is not there, and ends its story. mu must be held.
func (w *world) notInQueue(x *acquisition) {
	x.over = true
	lost := x.hold != nil && errors.Is(x.hold.Err(), lock.ErrLost)
	switch {
	case x.hold != nil && x.hold.Err() == nil:
		w.fail("%s: thinks that it holds, but has no entry", x.id)
	case lost && w.disturbed(x):
		w.happened["lost"]++
	case x.leaving && (lost || errors.Is(x.hold.Err(), lock.ErrReleased)):
	case x.canceled && errors.Is(x.err, context.Canceled):
	case w.clients[x.by].closed && errors.Is(x.err, lease.ErrClosed):
	case x.try && errors.Is(x.err, lock.ErrLocked):
		w.happened["try: locked"]++
	default:
		w.fail("%s: has no entry (returned %v, error %v)", x.id, x.done, x.err)
	}
}

// queue returns the entries as the server has them.
func (w *world) queue() []lock.Entry {
	all, err := lock.Inspect(w.t.Context(), w.observer, "lock")
	if err != nil {
		w.failf("inspect: %w", err)
	}
	return all
}

// finish has everybody who waits get the lock and leave, and looks for what is left.
func (w *world) finish() {
	for w.err == nil && len(w.queue()) > 0 {
		w.begin()
		w.unlock(w.t.Context(), nil)
		vtime.Advance(settleQuiet)
		w.end()
	}
	if w.err == nil {
		vtime.Advance(settleOutage)
		w.end()
	}
	for _, x := range w.all {
		x.cancel()
	}
	for _, c := range w.clients {
		if err := c.session.Close(w.t.Context()); err != nil {
			w.failf("close: %w", err)
		}
	}
	left, err := w.observer.Leases(w.t.Context())
	if err != nil || len(left.Leases) > 0 {
		w.failf("leases are left: %v, %v", left, err)
	}
}
