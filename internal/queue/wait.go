package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/look"
)

var (
	// errOwnGone says that the entry was deleted by somebody else.
	errOwnGone error = deletedError("own entry was deleted")
	// errWatchEnded says that the server ended a watch.
	errWatchEnded = errors.New("the server ended the watch")
)

const (
	// firstWatchPause and maxWatchPause bound the wait before a watch that the
	// server ended is opened again, so that a cluster without leader is not
	// flooded.
	firstWatchPause = 50 * time.Millisecond
	maxWatchPause   = time.Second
)

// reason is why the wait for a predecessor ended.
type reason int

const (
	// predecessorGone: an event says so, or a read.
	predecessorGone reason = iota
	// lookNoticed: a look gave reason for a check although no event had come.
	lookNoticed
	// notKnown: whom the entry waits for has yet to be found out.
	notKnown
	// watchOverdue: the watch was not created in time.
	watchOverdue
	// watchFailed: the server ended the watch, or a read beside it failed.
	watchFailed
	// ownDeleted: the entry is not there any more.
	ownDeleted
	// callerDone: the caller's context has ended, or the lease.
	callerDone
)

// wakeup is the end of a wait for a predecessor.
type wakeup struct {
	why reason
	// after is the revision that the check has to be as new as.
	after int64
	// err says more about watchFailed.
	err error
}

// wait returns once nothing is in the entry's way. Its place is kept through
// compaction, loss of the leader and reconnects. It fails with errOwnGone if the
// entry is gone, with the lease's error, or with ctx's.
func (e *entry) wait(ctx context.Context) error {
	ctx, done := e.bind(ctx)
	defer done()
	pause := firstWatchPause
	for g := e.waitsAt(); g != nil; g = e.waitsAt() {
		before := g.before
		e.follow(before)
		stream := e.keys.Stream()
		w := e.awaitPredecessor(ctx, stream, g)
		switch w.why {
		case ownDeleted:
			return errOwnGone
		case callerDone:
			return attempt.Ended(ctx, nil)
		case watchFailed:
			if !attempt.Pause(ctx, pause) {
				return attempt.Ended(ctx, w.err)
			}
			pause = min(2*pause, maxWatchPause)
		default:
			pause = firstWatchPause
		}
		if err := e.check(ctx, w.after); err != nil {
			return err
		}
		if w.why == lookNoticed && !g.before.same(before) {
			stream.Abandon() // it has kept an event from us
		}
	}
	return e.lease.Err()
}

// follow notes whom the entry waits for, if that is known.
func (e *entry) follow(before position) {
	if before.created != unknownRevision {
		e.followed = before
	}
}

// awaitPredecessor waits until there is reason to believe that the leg need not wait for
// its predecessor any more. It leaves the stream.
func (e *entry) awaitPredecessor(ctx context.Context, stream *look.Stream, g *leg) wakeup {
	v := &watching{e: e, leg: g, stream: stream}
	v.ctx, v.cancel = context.WithCancel(stream.Context())
	defer v.cancel()
	defer func() { stream.Leave(e.q.Session.Client(), g.lane.prefix, v.created) }()
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
	return v.ended
}

// watching is one watch on a leg's predecessor, with what else can end the wait for it.
type watching struct {
	e       *entry
	leg     *leg
	stream  *look.Stream
	ctx     context.Context // the watch's
	cancel  context.CancelFunc
	created bool // the server has created the watch

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
		items = append(items, e.keys.Add(e.legs[i].key, func(kv *mvccpb.KeyValue, rev int64) {
			if rev >= e.created && !e.is(kv) {
				v.end(wakeup{why: ownDeleted})
			}
		}, nil))
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
	leave, err := e.gates.opening.pass(v.ctx)
	if err != nil {
		return wakeup{why: callerDone}
	}
	leave = sync.OnceFunc(leave)
	defer leave()
	overdue := time.AfterFunc(rpcTimeout(e.lease), func() { v.end(wakeup{why: watchOverdue, after: g.before.seen}) })
	defer overdue.Stop()
	client := e.q.Session.Client()
	// Watch itself blocks until the server has created the watch.
	for resp := range client.Watch(v.ctx, g.before.key, g.lane.watch(g.before)...) {
		if err := resp.Err(); err != nil {
			return v.failed(err)
		}
		if resp.Created {
			overdue.Stop()
			v.created = true
			v.stream.Created(client, g.lane.prefix)
			rev := resp.Header.Revision
			if gone, err := e.goneBefore(v.ctx, g, rev); err != nil {
				return v.failed(err)
			} else if gone {
				return wakeup{why: predecessorGone, after: rev}
			}
			leave()
		}
		for _, ev := range resp.Events {
			// A member that lags behind what we have seen also delivers the
			// deletion of earlier entries under the same key.
			if ev.Kv.ModRevision > g.before.seen && g.endedBy(ev.Kv) {
				return wakeup{why: predecessorGone, after: ev.Kv.ModRevision}
			}
		}
	}
	return v.failed(errWatchEnded)
}

// failed is the end of a watch because of err.
func (v *watching) failed(err error) wakeup {
	if errors.Is(err, errOwnGone) {
		return wakeup{why: ownDeleted}
	}
	return wakeup{why: watchFailed, after: v.leg.before.seen, err: fmt.Errorf("%w: %w", errWatchEnded, err)}
}

// goneBefore reports whether the leg's predecessor was out of its way at a revision not
// older than rev, at which the watch was created: what happened before is not delivered by
// it. That is known without a read if nothing has happened since it was last seen.
func (e *entry) goneBefore(ctx context.Context, g *leg, rev int64) (gone bool, err error) {
	if rev <= g.before.seen {
		return false, nil
	}
	if g.before.whole { // of a lane that has no others beside it
		before, err := e.ahead(ctx, rev)
		if err != nil || !before[0].whole {
			return err == nil, err
		}
		g.before = before[0] // what has been freed by then is not counted again
		return false, nil
	}
	resp, err := e.read(ctx, rev, func(how ...clientv3.OpOption) []clientv3.Op {
		return []clientv3.Op{clientv3.OpGet(g.before.key, how...)}
	})
	if err != nil {
		return false, err
	}
	return g.lane.kind.over(g.before, first(resp, 0)), nil
}

// check is the wake-up check: it finds the entries that the legs have to wait for now,
// if any, at a revision not older than after and than our own entry.
func (e *entry) check(ctx context.Context, after int64) error {
	before, err := e.ahead(ctx, max(after, e.created))
	for i := range before {
		e.legs[i].before = before[i]
	}
	return err
}

// ahead returns whom the legs have to wait for at a revision not older than rev. It
// asks for those that wait already, all in one read: who is released often releases
// them together.
func (e *entry) ahead(ctx context.Context, rev int64) (before []position, err error) {
	resp, err := e.readIf(ctx, rev, e.unmarked(), func(how ...clientv3.OpOption) []clientv3.Op {
		ops := make([]clientv3.Op, len(e.legs), len(e.legs)+2)
		for i := range e.legs {
			ops[i] = clientv3.OpGet(e.legs[i].key, how...)
		}
		for i := range e.legs {
			if g := &e.legs[i]; g.before.exists() {
				ops = append(ops, g.lane.older(e.created, how...)...)
			}
		}
		return ops
	})
	if err != nil {
		return nil, err
	}
	for i := range e.legs {
		if !e.is(first(resp, i)) {
			return nil, errOwnGone
		}
	}
	if e.minds() {
		e.claimed = resp.Succeeded
	}
	before = make([]position, len(e.legs))
	answers := resp.Responses[len(e.legs):]
	for i := range e.legs {
		if g := &e.legs[i]; g.before.exists() {
			before[i], answers = g.lane.before(answers, e.created, resp.Header.Revision)
		}
	}
	return before, nil
}

// read reads keys at a revision that is at least rev: from the connected member
// alone, without a round between members, and if that lags behind, through a quorum.
func (e *entry) read(ctx context.Context, rev int64, ops func(how ...clientv3.OpOption) []clientv3.Op) (*clientv3.TxnResponse, error) {
	return e.readIf(ctx, rev, nil, ops)
}

// readIf is read; Succeeded says whether conds hold at that revision.
func (e *entry) readIf(ctx context.Context, rev int64, conds []clientv3.Cmp, ops func(how ...clientv3.OpOption) []clientv3.Op) (*clientv3.TxnResponse, error) {
	send := func(ctx context.Context, how ...clientv3.OpOption) (*clientv3.TxnResponse, error) {
		reads := ops(append(how, clientv3.WithKeysOnly())...)
		txn := e.q.Session.Client().Txn(ctx).If(conds...).Then(reads...)
		if len(conds) > 0 {
			txn = txn.Else(reads...)
		}
		return txn.Commit()
	}
	resp, err := request(ctx, e, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		resp, err := send(ctx, clientv3.WithSerializable())
		if err != nil || resp.Header.Revision >= rev {
			return resp, err
		}
		return send(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the queue: %w", err)
	}
	return resp, nil
}

func first(resp *clientv3.TxnResponse, i int) *mvccpb.KeyValue {
	if kvs := resp.Responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
		return kvs[0]
	}
	return nil
}
