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
)

// Reasons for which a watch on the predecessor ends, besides its deletion.
var (
	errOwnGone = errors.New("own entry was deleted")
	errOverdue = errors.New("the watch was not created in time")
	errCalled  = errors.New("the caller's context ended")

	errWatchEnded = errors.New("the server ended the watch")
)

const (
	// firstWatchPause and maxWatchPause bound the wait before a watch that the
	// server ended is opened again, so that a cluster without leader is not
	// flooded.
	firstWatchPause = 50 * time.Millisecond
	maxWatchPause   = time.Second
)

// wait returns once the entry is the oldest of its queue. Its place is kept
// through compaction, loss of the leader and reconnects. It fails with errOwnGone if
// the entry is gone, with the lease's error, or with ctx's.
func (e *entry) wait(ctx context.Context) error {
	ctx, done := e.bind(ctx)
	defer done()
	pause := firstWatchPause
	for e.before.exists() {
		after, err := e.awaitGone(ctx)
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
	}
	return e.lease.Err()
}

// awaitGone waits until there is reason to believe that the predecessor is gone,
// and returns a revision the check has to be as new as.
func (e *entry) awaitGone(ctx context.Context) (after int64, err error) {
	before := e.before
	if before.created == unknownRevision {
		return before.seen, nil
	}
	watchCtx, generation := e.keys.WatchContext()
	watchCtx, cancel := context.WithCancelCause(watchCtx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { cancel(errCalled) })
	defer stop()
	theirs := e.keys.Add(before.key, func(kv *mvccpb.KeyValue, rev int64) {
		if rev >= before.seen && !before.is(kv) {
			cancel(&unseenError{rev})
		}
	}, nil)
	defer theirs.Remove()
	own := e.keys.Add(e.key, func(kv *mvccpb.KeyValue, rev int64) {
		if rev >= e.created && !e.is(kv) {
			cancel(errOwnGone)
		}
	}, nil)
	defer own.Remove()

	after, err = e.watch(watchCtx, cancel, before)
	if err == nil {
		return after, nil
	}
	cause := context.Cause(watchCtx)
	if unseen, ok := errors.AsType[*unseenError](cause); ok {
		e.keys.Abandon(generation)
		return unseen.revision, nil
	}
	switch {
	case errors.Is(cause, errOverdue):
		// The stream swallows requests: its member may have vanished.
		e.keys.Abandon(generation)
		return before.seen, nil
	case errors.Is(cause, errOwnGone):
		return 0, errOwnGone
	case ctx.Err() != nil:
		return 0, attempt.Ended(ctx, nil)
	case !errors.Is(err, rpctypes.ErrCompacted):
		// No leader, or the stream's authentication token has expired, which
		// only another stream mends.
		e.keys.Abandon(generation)
	}
	return before.seen, fmt.Errorf("%w: %w", errWatchEnded, err)
}

// unseenError says that a look found the predecessor gone at a revision although no
// event had come: the stream keeps events from us, as one does whose member has
// vanished without a word.
type unseenError struct{ revision int64 }

func (e *unseenError) Error() string {
	return fmt.Sprintf("a look at revision %d found the predecessor gone without an event", e.revision)
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
