package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/look"
)

// awaitPredecessor waits until there is reason to believe that the leg need not wait for
// its predecessor any more. It leaves the stream.
func (e *entry) awaitPredecessor(ctx context.Context, stream *look.Stream, g *leg) wakeup {
	v := &watching{e: e, leg: g, stream: stream, all: g.before.known && e.simple()}
	v.ctx, v.cancel = context.WithCancel(stream.Context())
	defer v.cancel()
	defer func() { stream.Leave(e.q.Session.Client(), g.lane.prefix, v.pending) }()
	if g.before.created == unknownRevision {
		return wakeup{why: notKnown, after: g.before.seen}
	}
	stop := context.AfterFunc(ctx, func() { v.end(wakeup{why: callerDone}) })
	defer stop()
	unobserve := v.observe()
	defer unobserve()
	v.end(v.run())
	// An overdue one swallows requests: its member may have vanished. On one that failed
	// there is no leader, or its authentication token has expired, which only another
	// stream mends.
	failed := v.ended.why == watchFailed && !errors.Is(v.ended.err, rpctypes.ErrCompacted)
	if failed || v.ended.why == watchOverdue {
		stream.Abandon()
	}
	if v.ended.why == watchOverdue {
		stream.Doubt(rpcTimeout(e.lease))
	}
	return v.ended
}

// watching is one watch on a leg's predecessor, with what else can end the wait for it.
type watching struct {
	e       *entry
	leg     *leg
	stream  *look.Stream
	ctx     context.Context // the watch's
	cancel  context.CancelFunc
	pending bool      // the server has yet to create the watch
	since   time.Time // when it has
	// all is set if every older entry is known, so that the watch covers all of them and the
	// own key: it tells in order what happens to them. When the last of them is deleted, and
	// the own entry was not up to and in that revision, it is there and nothing older is.
	all bool
	// gone tells which of those that are older than the predecessor are not there any more.
	gone [few - 1]bool

	once  sync.Once
	ended wakeup
}

// end ends the watch because of w. The first reason counts.
func (v *watching) end(w wakeup) {
	v.once.Do(func() {
		v.ended = w
		v.cancel()
	})
}

// observe puts the entry's keys and the leg's predecessor on the lease's look until
// the returned function is called.
func (v *watching) observe() (done func()) {
	e, before := v.e, v.leg.before
	items := make([]*look.Item, 0, len(e.legs)+1)
	for i := range e.legs {
		items = append(items, e.keys.Expect(e.legs[i].key, e.created, func() { v.end(wakeup{why: ownDeleted}) }, nil))
	}
	items = append(items, e.keys.Add(before.key, func(kv *mvccpb.KeyValue, rev int64) {
		if rev >= before.seen && v.leg.lane.kind.worthCheck(before, kv) {
			v.end(wakeup{why: lookNoticed, after: rev})
		}
	}, nil))
	return func() {
		for _, it := range items {
			it.Remove()
		}
	}
}

// run watches until the leg's predecessor goes out of its way, and says why it ended.
func (v *watching) run() wakeup {
	e, g := v.e, v.leg
	if !e.crowd.opening.pass(v.ctx) { // unless the wait has ended otherwise, the stream has
		return wakeup{why: streamRetired}
	}
	leave := sync.OnceFunc(e.crowd.opening.leave)
	defer leave()
	if v.stream.Retired() { // while this one waited for its turn
		return wakeup{why: streamRetired}
	}
	seen := g.before.seen // the timer may fire while the watch ends and the leg goes on
	overdue := time.AfterFunc(rpcTimeout(e.lease), func() { v.end(wakeup{why: watchOverdue, after: seen}) })
	defer overdue.Stop()
	client := e.q.Session.Client()
	// Watch itself blocks until the server has created the watch.
	key, opts := v.watched()
	v.pending = true
	for resp := range client.Watch(v.ctx, key, opts...) {
		if err := resp.Err(); err != nil {
			return v.failed(err)
		}
		v.stream.Heard()
		if resp.Created {
			overdue.Stop()
			v.pending, v.since = false, time.Now()
			v.stream.Created(client, g.lane.prefix)
			if w, over := v.begun(resp.Header.Revision); over {
				return w
			}
			leave()
		}
		if w, over := v.heard(resp.Events); over {
			return w
		}
	}
	return v.failed(errWatchEnded)
}

// failed is the end of a watch because of err.
func (v *watching) failed(err error) wakeup {
	if errors.Is(err, errOwnGone) {
		return wakeup{why: ownDeleted}
	}
	lasted := !v.since.IsZero() && time.Since(v.since) >= maxWatchPause
	return wakeup{why: watchFailed, after: v.leg.before.seen, err: fmt.Errorf("%w: %w", errWatchEnded, err), lasted: lasted}
}

// watched returns what is watched.
func (v *watching) watched() (key string, opts []clientv3.OpOption) {
	before := v.leg.before
	opts = v.leg.lane.watch(before)
	if !v.all {
		return before.key, opts
	}
	from, to := min(before.key, v.leg.key), max(before.key, v.leg.key)
	for _, id := range before.others() {
		from, to = min(from, id.key), max(to, id.key)
	}
	return from, append(opts, clientv3.WithRange(to+"\x00"))
}

// begun reports whether the wait was over at a revision not older than rev, at which the
// watch was created: what happened before is not delivered by it. That is known without a
// read if nothing has happened since the predecessor was last seen.
func (v *watching) begun(rev int64) (w wakeup, over bool) {
	g := v.leg
	if rev <= g.before.seen {
		return wakeup{}, false
	}
	if g.before.whole { // of a lane that has no others beside it
		before, err := v.e.older(v.ctx, rev)
		switch {
		case err != nil:
			return v.failed(err), true
		case !before[0].whole:
			return wakeup{why: predecessorGone, after: max(rev, before[0].seen)}, true
		}
		g.before = before[0] // what has been freed by then is not counted again
		return wakeup{}, false
	}
	resp, err := v.e.read(v.ctx, rev, func(how ...clientv3.OpOption) []clientv3.Op {
		ops := []clientv3.Op{clientv3.OpGet(g.before.key, how...)}
		if v.all {
			ops = append(ops, clientv3.OpGet(g.key, how...))
			for _, id := range g.before.others() {
				ops = append(ops, clientv3.OpGet(id.key, how...))
			}
		}
		return ops
	})
	switch {
	case err != nil:
		return v.failed(err), true
	case v.all && !v.e.is(first(resp, 1)):
		return wakeup{why: ownDeleted}, true
	case v.all:
		for i, id := range g.before.others() {
			v.gone[i] = !id.is(first(resp, 2+i))
		}
	}
	return wakeup{why: predecessorGone, after: resp.Header.Revision, alone: v.alone()}, g.lane.kind.over(g.before, first(resp, 0))
}

// alone reports whether it is known that the own entry is there, and that nothing is older but
// the predecessor.
func (v *watching) alone() bool {
	return v.all && !slices.Contains(v.gone[:len(v.leg.before.others())], false)
}

// heard reports whether the wait is over with events. A member that lags behind what we
// have seen also delivers the deletion of earlier entries under the same keys.
func (v *watching) heard(events []*clientv3.Event) (w wakeup, over bool) {
	g := v.leg
	for _, ev := range events {
		switch key := string(ev.Kv.Key); {
		case ev.Kv.ModRevision <= g.before.seen:
		case g.before.whole || key == g.before.key:
			if !over && g.endedBy(ev.Kv) {
				w, over = wakeup{why: predecessorGone, after: ev.Kv.ModRevision}, true
			}
		case key == g.key:
			// The next look tells whether the lease has ended, or somebody has deleted it.
			v.all = false
			v.e.keys.Hurry()
		default:
			for i, id := range g.before.others() {
				v.gone[i] = v.gone[i] || key == id.key
			}
		}
	}
	w.alone = over && v.alone()
	return w, over
}
