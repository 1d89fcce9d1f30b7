package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/look"
)

// Reasons for which a watch on the predecessor ends, besides its deletion.
var (
	errOwnGone error = deletedError("own entry was deleted")
	errOverdue       = errors.New("the watch was not created in time")
	errCalled        = errors.New("the caller's context ended")

	errWatchEnded = errors.New("the server ended the watch")
)

const (
	// firstWatchPause and maxWatchPause bound the wait before a watch that the
	// server ended is opened again, so that a cluster without leader is not
	// flooded.
	firstWatchPause = 50 * time.Millisecond
	maxWatchPause   = time.Second
)

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
		after, silent, err := e.awaitGone(ctx, g)
		switch {
		case errors.Is(err, errWatchEnded):
			if !attempt.Pause(ctx, pause) {
				return attempt.Ended(ctx, err)
			}
			pause = min(2*pause, maxWatchPause)
		case err != nil:
			return err
		default:
			pause = firstWatchPause
		}
		if err := e.check(ctx, after); err != nil {
			return err
		}
		if silent != nil && !g.before.same(before) {
			silent()
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

// awaitGone waits until there is reason to believe that the leg need not wait for its
// predecessor any more, and returns a revision the check has to be as new as. silent is
// set if a look gave the reason: to be called if it was right, since then the stream
// has kept an event from us.
func (e *entry) awaitGone(ctx context.Context, g *leg) (after int64, silent func(), err error) {
	before := g.before
	if before.created == unknownRevision {
		return before.seen, nil, nil
	}
	stream := e.keys.Stream()
	watchCtx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { cancel(errCalled) })
	defer stop()
	unobserve := e.observe(g, cancel)
	defer unobserve()

	after, err = e.watch(watchCtx, cancel, stream, g)
	if err == nil {
		return after, nil, nil
	}
	cause := context.Cause(watchCtx)
	if noticed, ok := errors.AsType[*noticedError](cause); ok {
		return noticed.revision, stream.Abandon, nil
	}
	switch {
	case errors.Is(cause, errOverdue):
		// The stream swallows requests: its member may have vanished.
		stream.Abandon()
		return before.seen, nil, nil
	case errors.Is(cause, errOwnGone), errors.Is(err, errOwnGone):
		return 0, nil, errOwnGone
	case ctx.Err() != nil:
		return 0, nil, attempt.Ended(ctx, nil)
	case !errors.Is(err, rpctypes.ErrCompacted):
		// No leader, or the stream's authentication token has expired, which
		// only another stream mends.
		stream.Abandon()
	}
	return before.seen, nil, fmt.Errorf("%w: %w", errWatchEnded, err)
}

// observe puts the entry's keys and the leg's predecessor on the lease's look until
// the returned function is called. cancel is told what a look finds.
func (e *entry) observe(g *leg, cancel context.CancelCauseFunc) (done func()) {
	items := make([]*look.Item, 0, len(e.legs)+1)
	for i := range e.legs {
		items = append(items, e.keys.Add(e.legs[i].key, func(kv *mvccpb.KeyValue, rev int64) {
			if rev >= e.created && !e.is(kv) {
				cancel(errOwnGone)
			}
		}, nil))
	}
	before := g.before
	items = append(items, e.keys.Add(before.key, func(kv *mvccpb.KeyValue, rev int64) {
		// An owner may have been kept from saying that it is one, and which entries
		// own a weighted lane a look at one key does not show.
		if rev >= before.seen && (g.lane.permits > 0 || g.lane.gone(before, kv)) {
			cancel(&noticedError{rev})
		}
	}, nil))
	return func() {
		for _, it := range items {
			it.Remove()
		}
	}
}

// noticedError says that a look at a revision gave reason for a check although no
// event had come: the stream keeps events from us, as one does whose member has
// vanished without a word.
type noticedError struct{ revision int64 }

func (e *noticedError) Error() string {
	return fmt.Sprintf("a look at revision %d gave reason for a check without an event", e.revision)
}

// watch returns the revision at which the leg's predecessor went out of its way, or
// why it cannot tell. cancel ends ctx, which is of the stream.
func (e *entry) watch(ctx context.Context, cancel context.CancelCauseFunc, stream *look.Stream, g *leg) (after int64, err error) {
	overdue := time.AfterFunc(rpcTimeout(e.lease), func() { cancel(errOverdue) })
	defer overdue.Stop()
	client, before, created := e.q.Session.Client(), g.before, false
	defer func() { stream.Leave(client, g.lane.prefix, created) }()
	// Watch itself blocks until the server has created the watch.
	responses := client.Watch(ctx, before.key, g.lane.watch(before)...)
	for resp := range responses {
		switch {
		case resp.Err() != nil:
			return 0, resp.Err()
		case resp.Created:
			overdue.Stop()
			created = true
			stream.Created(client, g.lane.prefix)
			if rev := resp.Header.Revision; rev > before.seen {
				if gone, err := e.goneBefore(ctx, g, rev); gone || err != nil {
					return rev, err
				}
			}
		}
		for _, ev := range resp.Events {
			// A member that lags behind what we have seen also delivers the
			// deletion of earlier entries under the same key.
			if ev.Kv.ModRevision > before.seen {
				return ev.Kv.ModRevision, nil
			}
		}
	}
	return 0, errWatchEnded
}

// goneBefore reports whether the leg's predecessor was out of its way at a revision
// not older than rev: what happened before the watch began is not delivered by it.
func (e *entry) goneBefore(ctx context.Context, g *leg, rev int64) (gone bool, err error) {
	if g.before.whole { // of a lane that has no others beside it
		before, err := e.ahead(ctx, rev)
		return err == nil && !before[0].whole, err
	}
	resp, err := e.read(ctx, rev, func(how ...clientv3.OpOption) []clientv3.Op {
		return []clientv3.Op{clientv3.OpGet(g.before.key, how...)}
	})
	if err != nil {
		return false, err
	}
	return g.lane.gone(g.before, first(resp, 0)), nil
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
			before[i] = g.lane.before(answers, e.created, resp.Header.Revision)
			answers = answers[g.lane.asks():]
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
func (e *entry) readIf(ctx context.Context, rev int64, conds []clientv3.Cmp, ops func(how ...clientv3.OpOption) []clientv3.Op) (resp *clientv3.TxnResponse, err error) {
	client := e.q.Session.Client()
	how := []clientv3.OpOption{clientv3.WithKeysOnly(), clientv3.WithSerializable()}
	send := func(ctx context.Context) (*clientv3.TxnResponse, error) {
		reads := ops(how...)
		txn := client.Txn(ctx).If(conds...).Then(reads...)
		if len(conds) > 0 {
			txn = txn.Else(reads...)
		}
		return txn.Commit()
	}
	err = e.do(ctx, func(ctx context.Context) (err error) {
		resp, err = send(ctx)
		if err != nil || resp.Header.Revision >= rev {
			return err
		}
		how = how[:1]
		resp, err = send(ctx)
		return err
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
