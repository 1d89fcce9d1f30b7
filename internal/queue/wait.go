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

// Reasons for which a watch on the predecessor ends, besides its deletion.
var (
	errUnseen  = errors.New("a look found the predecessor gone without an event")
	errOwnGone = errors.New("own entry was deleted")
	errOverdue = errors.New("the watch was not created in time")
	errCalled  = errors.New("the caller's context ended")
)

// watchPause is the wait before a watch that the server ended is opened again, so
// that a cluster without leader is not flooded.
const watchPause = 50 * time.Millisecond

// wait returns once the entry is the oldest of its queue. Its place is kept
// through compaction, loss of the leader and reconnects. It fails with errOwnGone if
// the entry is gone, with the lease's error, or with ctx's.
func (e *entry) wait(ctx context.Context) error {
	ctx, done := e.bind(ctx)
	defer done()
	for e.before.exists() {
		after := e.before.seen
		if e.before.created != unknownRevision {
			var err error
			if after, err = e.awaitGone(ctx); err != nil {
				return err
			}
		}
		if err := e.check(ctx, after); err != nil {
			return err
		}
	}
	return e.lease.Err()
}

// awaitGone waits until there is reason to believe that the predecessor is gone,
// and returns a revision the check has to be as new as.
func (e *entry) awaitGone(ctx context.Context) (after int64, err error) {
	before := e.before
	watchCtx, generation := e.keys.WatchContext()
	watchCtx, cancel := context.WithCancelCause(watchCtx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { cancel(errCalled) })
	defer stop()
	theirs := e.keys.Add(before.key, func(kv *mvccpb.KeyValue, rev int64) {
		if rev >= before.seen && !before.is(kv) {
			cancel(errUnseen)
		}
	})
	defer theirs.Remove()
	own := e.keys.Add(e.key, func(kv *mvccpb.KeyValue, rev int64) {
		if rev >= e.created && !e.is(kv) {
			cancel(errOwnGone)
		}
	})
	defer own.Remove()

	after, err = e.watch(watchCtx, cancel, before)
	switch cause := context.Cause(watchCtx); {
	case err == nil:
		return after, nil
	case errors.Is(cause, errUnseen), errors.Is(cause, errOverdue):
		// The stream keeps events from us, or swallows requests: its member may
		// have vanished without a word.
		e.keys.Abandon(generation)
		return before.seen, nil
	case errors.Is(cause, errOwnGone):
		return 0, errOwnGone
	case ctx.Err() != nil:
		return 0, attempt.Ended(ctx, nil)
	default: // ended by the server: no leader, compaction
		attempt.Pause(ctx, watchPause)
		return before.seen, nil
	}
}

// watch returns the revision at which the predecessor was deleted, or why it cannot
// tell. cancel ends ctx.
func (e *entry) watch(ctx context.Context, cancel context.CancelCauseFunc, before position) (after int64, err error) {
	overdue := time.AfterFunc(rpcTimeout(e.lease), func() { cancel(errOverdue) })
	defer overdue.Stop()
	client := e.q.Session.Client()
	// Watch itself blocks until the server has created the watch.
	responses := client.Watch(ctx, before.key, clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	for resp := range responses {
		switch {
		case resp.Err() != nil:
			return 0, resp.Err()
		case resp.Created:
			overdue.Stop()
			e.keys.KeepOpen(client, e.q.Prefix)
			if rev := resp.Header.Revision; rev > before.seen {
				if gone, err := e.goneBefore(ctx, before, rev); gone || err != nil {
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

var errWatchEnded = errors.New("watch ended")

// goneBefore reports whether the predecessor was gone at a revision not older than
// rev: what happened before the watch began is not delivered by it.
func (e *entry) goneBefore(ctx context.Context, before position, rev int64) (gone bool, err error) {
	resp, err := e.read(ctx, rev, func(how ...clientv3.OpOption) []clientv3.Op {
		return []clientv3.Op{clientv3.OpGet(before.key, how...)}
	})
	if err != nil {
		return false, err
	}
	return !before.is(first(resp, 0)), nil
}

// check is the wake-up check: it finds the entry that is now before ours, if any,
// at a revision not older than after and than our own entry.
func (e *entry) check(ctx context.Context, after int64) error {
	resp, err := e.read(ctx, max(after, e.created), func(how ...clientv3.OpOption) []clientv3.Op {
		older := append(clientv3.WithLastCreate(), clientv3.WithPrefix(), clientv3.WithMaxCreateRev(e.created-1))
		return []clientv3.Op{clientv3.OpGet(e.key, how...), clientv3.OpGet(e.q.Prefix, append(older, how...)...)}
	})
	if err != nil {
		return err
	}
	if !e.is(first(resp, 0)) {
		return errOwnGone
	}
	e.before = position{}
	if kv := first(resp, 1); kv != nil {
		e.before = at(kv, resp.Header.Revision)
	}
	return nil
}

// read reads keys at a revision that is at least rev: from the connected member
// alone, without a round between members, and if that lags behind, through a quorum.
func (e *entry) read(ctx context.Context, rev int64, ops func(how ...clientv3.OpOption) []clientv3.Op) (resp *clientv3.TxnResponse, err error) {
	client := e.q.Session.Client()
	how := []clientv3.OpOption{clientv3.WithKeysOnly(), clientv3.WithSerializable()}
	err = e.do(ctx, func(ctx context.Context) (err error) {
		resp, err = client.Txn(ctx).Then(ops(how...)...).Commit()
		if err != nil || resp.Header.Revision >= rev {
			return err
		}
		how = how[:1]
		resp, err = client.Txn(ctx).Then(ops(how...)...).Commit()
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
