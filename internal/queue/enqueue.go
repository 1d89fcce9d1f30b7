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
	slot  *look.Slot
	key   string
	// record is what the entry says, and value that as first put.
	record Record
	value  string
	// created is the create revision, 0 while it is not known to exist.
	created int64
	// modified is the revision of the last put that is known.
	modified int64
	// unsettled counts puts that may still be applied.
	unsettled int
	// undeleted is set once a deletion went without an answer, so that the next
	// may find nothing.
	undeleted bool
	// before is the entry that this one waits for; zero if it owns the lock.
	before position
}

// newEntry reserves a key under the lease for an entry that does not exist yet.
func (q *Queue) newEntry(l *lease.Lease) *entry {
	e := &entry{q: q, lease: l, keys: l.Look()}
	e.slot = e.keys.Reserve(q.key(l.ID()))
	e.key = e.slot.Key()
	e.record = q.record()
	e.value = e.record.encode()
	return e
}

// free gives up the key of an entry that is gone for certain.
func (e *entry) free() { e.slot.Doubt(0, e.unsettled, e.value) }

// is reports whether kv is the entry.
func (e *entry) is(kv *mvccpb.KeyValue) bool { return kv != nil && kv.CreateRevision == e.created }

// bind returns ctx, ended also by the end of the entry's lease.
func (e *entry) bind(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(e.lease.Context(), func() { cancel(e.lease.Err()) })
	return ctx, func() { stop(); cancel(nil) }
}

// do repeats rpc until it succeeds, is refused, ctx ends, or the lease has.
func (e *entry) do(ctx context.Context, rpc func(context.Context) error) error {
	return attempt.Limits{Timeout: rpcTimeout(e.lease), Until: e.lease.Context()}.Do(ctx, rpc)
}

// put sends a transaction that may put the entry until it is answered. Puts that
// were not answered are counted.
func (e *entry) put(ctx context.Context, cond clientv3.Cmp, then, otherwise []clientv3.Op) (resp *clientv3.TxnResponse, err error) {
	then = append([]clientv3.Op{clientv3.OpPut(e.key, e.value, clientv3.WithLease(e.lease.ID()))}, then...)
	err = e.do(ctx, func(ctx context.Context) (err error) {
		e.unsettled++
		resp, err = e.q.Session.Client().Txn(ctx).If(cond).Then(then...).Else(otherwise...).Commit()
		if err == nil || !attempt.Uncertain(err) {
			e.unsettled--
		}
		return err
	})
	if err == nil && resp.Succeeded {
		e.created, e.modified = resp.Header.Revision, resp.Header.Revision
	}
	return resp, err
}

// enqueue puts the entry at the end of the queue and learns what is before it.
//
// A transaction that puts the entry under the condition that the queue is empty, and
// does this as its alternative, would save the read of a free lock. Measured, the
// larger request costs more than that read (17 µs of 130).
func (e *entry) enqueue(ctx context.Context) error {
	newest := append(clientv3.WithLastCreate(), clientv3.WithPrefix(), clientv3.WithLimit(2), clientv3.WithKeysOnly())
	resp, err := e.put(ctx, clientv3.Compare(clientv3.CreateRevision(e.key), "=", 0),
		[]clientv3.Op{clientv3.OpGet(e.q.Prefix, newest...)},
		[]clientv3.Op{clientv3.OpGet(e.key)})
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return e.adopt(first(resp, 0), resp.Header.Revision)
	}
	if queue := resp.Responses[1].GetResponseRange(); queue.Count > 1 {
		e.before = at(queue.Kvs[1], e.created)
	}
	return nil
}

// adopt takes an entry that exists under our key for ours if it is: an earlier
// attempt went through although its reply did not.
func (e *entry) adopt(kv *mvccpb.KeyValue, rev int64) error {
	if Parse(kv).Record.Nonce != e.record.Nonce {
		// Another library may use our lease: concurrency.WithLease. A put that
		// never settles keeps the key in doubt, and us from taking it again; a look
		// removes nothing there but our own value.
		e.unsettled++
		return fmt.Errorf("%w: %q", errForeign, e.key)
	}
	e.created, e.modified = kv.CreateRevision, kv.ModRevision
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
	empty := clientv3.Compare(clientv3.CreateRevision(e.q.Prefix), "=", 0).WithPrefix()
	resp, err := e.put(ctx, empty, nil, []clientv3.Op{clientv3.OpGet(e.q.Prefix, oldest...)})
	if err != nil || resp.Succeeded {
		return Occupant{}, false, err
	}
	head = Parse(first(resp, 0))
	if head.Key == e.key && head.Record.Nonce == e.record.Nonce { // an earlier attempt went through
		e.created, e.modified = head.CreateRevision, head.ModRevision
		e.unsettled--
		return Occupant{}, false, nil
	}
	return head, true, nil
}
