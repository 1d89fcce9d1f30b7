package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
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
	// maxFailures is how many watches in a row may fail before the queue is searched.
	maxFailures = 5
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
	// streamRetired: the watch was not opened, since its stream had been abandoned before.
	streamRetired
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
	// alone is set if no check is needed: the entry is there, and nothing older is.
	alone bool
	// err says more about watchFailed, and lasted whether there was a watch for a while.
	err    error
	lasted bool
}

// wait returns once nothing is in the entry's way. Its place is kept through
// compaction, loss of the leader and reconnects. It fails with errOwnGone if the
// entry is gone, with the lease's error, or with ctx's.
func (e *entry) wait(ctx context.Context) error {
	ctx, done := e.bind(ctx)
	defer done()
	defer func() { e.ahead = nil }() // else each entry would keep all before it in memory
	failures := 0                    // watches in a row that have told nothing
	for g := e.waitsAt(); g != nil; g = e.waitsAt() {
		before := g.before
		e.follow(g)
		stream := e.keys.Stream()
		w := e.awaitPredecessor(ctx, stream, g)
		switch w.why {
		case ownDeleted:
			return errOwnGone
		case callerDone:
			return e.endOf(ctx)
		case streamRetired:
			if ctx.Err() != nil || e.lease.Err() != nil {
				return e.endOf(ctx)
			}
			continue // on another stream
		case watchOverdue:
			if failures++; failures == 1 {
				continue // on another stream, with a read as below
			}
		case watchFailed:
			if w.lasted {
				failures = 0
			}
			if !attempt.Pause(ctx, watchPause(failures)) {
				return attempt.Ended(ctx, w.err)
			}
			if failures++; failures <= maxFailures && !denied(w.err) {
				continue // the next watch begins with a read, which mostly does not search the queue
			}
		default:
			failures = 0
		}
		if err := e.proceed(ctx, g, w); err != nil {
			return err
		}
		if w.why == lookNoticed && !g.before.same(before) {
			stream.Abandon() // it has kept an event from us
			stream.Doubt(rpcTimeout(e.lease))
		}
	}
	return e.lease.Err()
}

// watchPause returns how long to wait after a watch has failed, as so many before it.
func watchPause(failures int) time.Duration {
	return min(firstWatchPause<<min(failures, maxFailures), maxWatchPause)
}

// endOf returns why a wait with a context of bind is over. The end of the lease shows there a
// little later than elsewhere, and is looked for first.
func (e *entry) endOf(ctx context.Context) error {
	if err := e.lease.Err(); err != nil {
		return err
	}
	return attempt.Ended(ctx, nil)
}

// follow notes whom the entry waits for in the leg, if that is known. What an entry of the
// session's own knows of its queue holds for the other if that is the same: one in another
// layout may be within it.
func (e *entry) follow(g *leg) {
	if g.before.created == unknownRevision {
		return
	}
	e.followed, e.ahead = g.before, nil
	if ahead := e.crowd.at(g.before.key); ahead != nil && ahead.legs[0].lane.behind == g.lane.behind {
		e.ahead = ahead
	}
}

// proceed finds out, after a wait of the leg, whom the entry has to wait for now.
func (e *entry) proceed(ctx context.Context, g *leg, w wakeup) error {
	switch {
	case w.alone:
		g.before = position{}
		return nil
	case w.why == predecessorGone && e.simple() && e.ahead != nil && e.ahead.hasOwned(g.before.created):
		return e.present(ctx, w.after)
	case w.why == watchFailed: // as all others of the session may have
		if !e.crowd.opening.pass(ctx) {
			return attempt.Ended(ctx, w.err)
		}
		defer e.crowd.opening.leave()
	}
	return e.check(ctx, w.after)
}

// simple reports whether an entry owns that is there while nothing older is, in the only
// lane it has.
func (e *entry) simple() bool { return len(e.legs) == 1 && e.legs[0].lane.ordered() && !e.minds() }

// present is the wake-up check of an entry whose predecessor was the oldest and has gone:
// it is enough to find the own, which the server does not search the queue for.
func (e *entry) present(ctx context.Context, after int64) error {
	g := &e.legs[0]
	resp, err := e.read(ctx, max(after, e.created), func(how ...clientv3.OpOption) []clientv3.Op {
		return []clientv3.Op{clientv3.OpGet(g.key, how...)}
	})
	switch {
	case err != nil:
		return err
	case !e.is(first(resp, 0)):
		return errOwnGone
	}
	g.before = position{}
	return nil
}

// check is the wake-up check: it finds the entries that the legs have to wait for now,
// if any, at a revision not older than after and than our own entry.
func (e *entry) check(ctx context.Context, after int64) error {
	before, err := e.older(ctx, max(after, e.created))
	for i := range before {
		e.legs[i].before = before[i]
	}
	return err
}

// older returns whom the legs have to wait for at a revision not older than rev. It
// asks for those that wait already, all in one read: who is released often releases
// them together.
func (e *entry) older(ctx context.Context, rev int64) (before []position, err error) {
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
