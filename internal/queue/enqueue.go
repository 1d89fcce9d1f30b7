package queue

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/look"
	"github.com/conclave-go/conclave/lease"
)

// errForeign says that somebody else wrote to a key that is ours by construction.
var errForeign = errors.New("key of the entry holds somebody else's value")

// entry is an acquisition's place in the queue.
type entry struct {
	q     *Queue
	lease *lease.Lease
	keys  *look.List
	key   string
	nonce string
	value string
	// created is the create revision, 0 while it is not known to exist.
	created int64
	// unsettled counts puts that may still be applied.
	unsettled int
	// before is the entry that this one waits for; zero if it owns the lock.
	before position
}

// newEntry reserves a key under the lease for an entry that does not exist yet.
func (q *Queue) newEntry(l *lease.Lease) *entry {
	e := &entry{q: q, lease: l, keys: l.Look()}
	e.key = e.keys.Reserve(q.key(l.ID()))
	e.nonce, e.value = q.record()
	return e
}

// is reports whether kv is the entry.
func (e *entry) is(kv *mvccpb.KeyValue) bool { return kv != nil && kv.CreateRevision == e.created }

// bind returns ctx, ended also by the end of the entry's lease.
func (e *entry) bind(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(e.lease.Context(), func() { cancel(e.lease.Err()) })
	return ctx, func() { stop(); cancel(nil) }
}

// commit sends a transaction that may put the entry until it is answered, and keeps
// count of the puts that were not.
func (e *entry) commit(ctx context.Context, txn func(clientv3.Txn) clientv3.Txn) (resp *clientv3.TxnResponse, err error) {
	ctx, done := e.bind(ctx)
	defer done()
	err = attempt.Do(ctx, rpcTimeout(e.lease), func(ctx context.Context) (err error) {
		e.unsettled++
		resp, err = txn(e.q.Session.Client().Txn(ctx)).Commit()
		if err == nil || !attempt.Uncertain(err) {
			e.unsettled--
		}
		return err
	})
	return resp, err
}

// enqueue puts the entry at the end of the queue and learns what is before it.
func (e *entry) enqueue(ctx context.Context) error {
	newest := append(clientv3.WithLastCreate(), clientv3.WithPrefix(), clientv3.WithLimit(2), clientv3.WithKeysOnly())
	resp, err := e.commit(ctx, func(txn clientv3.Txn) clientv3.Txn {
		return txn.If(clientv3.Compare(clientv3.CreateRevision(e.key), "=", 0)).
			Then(clientv3.OpPut(e.key, e.value, clientv3.WithLease(e.lease.ID())), clientv3.OpGet(e.q.Prefix, newest...)).
			Else(clientv3.OpGet(e.key))
	})
	if err != nil {
		return err
	}
	rev := resp.Header.Revision
	if !resp.Succeeded {
		kvs := resp.Responses[0].GetResponseRange().Kvs
		return e.adopt(kvs[0], rev)
	}
	e.created = rev
	queue := resp.Responses[1].GetResponseRange()
	if queue.Count > 1 {
		e.before = at(queue.Kvs[1], rev)
	}
	return nil
}

// adopt takes an entry that exists under our key for ours if it is: an earlier
// attempt went through although its reply did not.
func (e *entry) adopt(kv *mvccpb.KeyValue, rev int64) error {
	if parse(kv).Record.Nonce != e.nonce {
		e.unsettled++ // keeps the key from being used again
		return fmt.Errorf("%w: %q", errForeign, e.key)
	}
	e.created = kv.CreateRevision
	e.unsettled--
	// What is before it is not known; a position that cannot exist makes the
	// wake-up check find out.
	e.before = position{created: unknownRevision, seen: rev}
	return nil
}

// unknownRevision stands for a predecessor that has yet to be looked up.
const unknownRevision = -1

func at(kv *mvccpb.KeyValue, seen int64) position {
	return position{key: string(kv.Key), created: kv.CreateRevision, seen: seen}
}

// tryEnqueue puts the entry if the queue is empty. Otherwise it reports who is at
// the head, and the entry does not exist.
func (e *entry) tryEnqueue(ctx context.Context) (head Occupant, taken bool, err error) {
	oldest := append(clientv3.WithFirstCreate(), clientv3.WithPrefix())
	resp, err := e.commit(ctx, func(txn clientv3.Txn) clientv3.Txn {
		return txn.If(clientv3.Compare(clientv3.CreateRevision(e.q.Prefix), "=", 0).WithPrefix()).
			Then(clientv3.OpPut(e.key, e.value, clientv3.WithLease(e.lease.ID()))).
			Else(clientv3.OpGet(e.q.Prefix, oldest...))
	})
	if err != nil {
		return Occupant{}, false, err
	}
	if resp.Succeeded {
		e.created = resp.Header.Revision
		return Occupant{}, false, nil
	}
	head = parse(resp.Responses[0].GetResponseRange().Kvs[0])
	if head.Key == e.key && head.Record.Nonce == e.nonce { // an earlier attempt went through
		e.created = head.CreateRevision
		e.unsettled--
		return Occupant{}, false, nil
	}
	return head, true, nil
}
