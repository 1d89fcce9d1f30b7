package queue

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/inside"
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
	crowd *crowd
	// legs are its keys, one for each lane of the queue.
	legs []leg
	one  [1]leg // what legs is made of if there is one
	// record is what the entry says, and value that as first put.
	record Record
	value  string
	// life is where it is in its life, and what is known of its requests.
	life *life
	// created is the create revision, 0 while it is not known to exist.
	created int64
	// header is that of the answer which told that it exists, of its create revision.
	header lease.Header
	// modified is the revision of the last put that is known, and written the header of
	// the answer that told of it, if that was not the first.
	modified int64
	written  lease.Header
	// followed is the entry that it has waited for last, and ahead, while it waits, the
	// session's own of the same key, nil if there is none.
	followed position
	ahead    *entry
	// marks is the lease for its mark, nil if the queue's grants leave none.
	marks *markLease
	// lost is the mark that it waits for, or has waited for last.
	lost mark
	// claimed is set if no mark was in the way when it came to own, and its own was
	// put if the queue's grants leave one.
	claimed bool
}

// leg is an entry's place in one lane.
type leg struct {
	lane Lane
	slot *look.Slot
	key  string
	// before is the entry that this one waits for; zero if none is in its way.
	before position
}

// newEntry reserves keys under the lease for an entry that does not exist yet.
func (q *Queue) newEntry(l *lease.Lease) *entry {
	e := &entry{q: q, lease: l, keys: inside.Keys(l), crowd: crowdOf(q.Session), life: &life{}, record: q.record()}
	e.value = q.content(e.record)
	e.legs = e.one[:0]
	for _, lane := range q.Lanes {
		slot := e.keys.Reserve(lane.key(l.ID()))
		e.legs = append(e.legs, leg{lane: lane, slot: slot, key: slot.Key()})
	}
	return e
}

// key returns the entry's first key, which names it.
func (e *entry) key() string { return e.legs[0].key }

// is reports whether kv belongs to the entry.
func (e *entry) is(kv *mvccpb.KeyValue) bool { return kv != nil && kv.CreateRevision == e.created }

// same returns the conditions under which the entry is as it was made.
func (e *entry) same() []clientv3.Cmp {
	conds := make([]clientv3.Cmp, len(e.legs))
	for i := range e.legs {
		conds[i] = clientv3.Compare(clientv3.CreateRevision(e.legs[i].key), "=", e.created)
	}
	return conds
}

// guard returns the conditions under which the entry owns as its queue says: a writer
// does not once it was put again.
func (e *entry) guard() []clientv3.Cmp {
	conds := e.same()
	for i, lane := range e.q.Lanes {
		if lane.sole {
			conds[i] = clientv3.Compare(clientv3.ModRevision(e.legs[i].key), "=", e.created)
		}
	}
	return conds
}

// waits reports whether another entry is in the way.
func (e *entry) waits() bool { return e.waitsAt() != nil }

// waitsAt returns the first leg that has to wait, nil if none has.
func (e *entry) waitsAt() *leg {
	for i := range e.legs {
		if e.legs[i].before.exists() {
			return &e.legs[i]
		}
	}
	return nil
}

// bind returns ctx, ended also by the end of the entry's lease.
func (e *entry) bind(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(e.lease.Context(), func() { cancel(e.lease.Err()) })
	return ctx, func() { stop(); cancel(nil) }
}

// request makes a request until it is answered, refused, ctx ends, or the entry's lease
// has. When an answer is slow, it goes out again beside the first; so try is called by
// several goroutines at once, and what it sends has to be recognised when it is repeated.
func request[T any](ctx context.Context, e *entry, try func(context.Context) (T, error)) (T, error) {
	return attempt.Hedge(ctx, e.limits(), try)
}

// commit is request for a transaction.
func (e *entry) commit(ctx context.Context, conds []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
	return request(ctx, e, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return e.q.Session.Client().Txn(ctx).If(conds...).Then(then...).Else(otherwise...).Commit()
	})
}

func (e *entry) limits() attempt.Limits {
	t := rpcTimeout(e.lease)
	return attempt.Limits{
		Patience: t, Timeout: t, Until: e.lease.Context(),
		Caller: inside.Of(e.q.Session).Caller(), What: "queue: request",
	}
}

// absent is the condition that the entry is not there.
func (e *entry) absent() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(e.key()), "=", 0)
}

// putting returns a transaction that does then, which begins with puts, if conds hold, of
// which one says that the entry is not there. Its keys come and go together, so the first one
// tells whether it is there: the answers to otherwise come after the read of that key.
func (e *entry) putting(conds []clientv3.Cmp, then, otherwise []clientv3.Op) *part {
	gets := append([]clientv3.Op{clientv3.OpGet(e.key())}, otherwise...)
	return &part{entry: e, conds: conds, then: then, otherwise: gets}
}

// puts returns the operations that put the entry, with room for more.
func (e *entry) puts(more int) []clientv3.Op {
	puts := make([]clientv3.Op, 0, len(e.legs)+more)
	for i := range e.legs {
		puts = append(puts, clientv3.OpPut(e.legs[i].key, e.value, clientv3.WithLease(e.lease.ID())))
	}
	return puts
}

// put sends a transaction that puts the entry until it is answered.
func (e *entry) put(ctx context.Context, p *part) (*clientv3.TxnResponse, error) {
	resp, err := request(ctx, e, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		e.life.putSent()
		resp, err := e.crowd.enqueues.commit(ctx, p)
		e.life.putAnswered(resp, err)
		return resp, err
	})
	if err == nil && resp.Succeeded {
		e.becomeWaiting(resp.Header.Revision, resp.Header.Revision, lease.HeaderOf(resp.Header))
	}
	return resp, err
}

// enqueue puts the entry at the end of the queue and learns what is before it.
//
// A transaction that puts the entry under the condition that the queue is empty, and
// does this as its alternative, would save the read of a free lock. Measured, the
// larger request costs more than that read (17 µs of 130).
func (e *entry) enqueue(ctx context.Context) error {
	marking := e.marking()
	extra := len(marking)
	then := append(e.puts(extra+len(e.legs)), marking...)
	for i := range e.legs {
		then = e.legs[i].lane.queued(then)
	}
	agreed, others := e.legs[0].lane.agreed()
	conds := append(agreed, e.absent())
	e.claimed = e.minds()
	p := e.putting(append(conds, e.unmarked()...), then, others)
	p.shared = e.shareable()
	resp, err := e.put(ctx, p)
	if err == nil && e.minds() && !resp.Succeeded && first(resp, 0) == nil {
		// A mark is there, for which it is waited when nothing else is in the way.
		e.claimed = false
		resp, err = e.put(ctx, e.putting(conds, then, others))
	}
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return e.adopt(resp, dissented(resp.Responses[1:]))
	}
	answers := resp.Responses[len(e.legs):]
	if extra > 0 {
		e.claimed = answers[0].GetResponseTxn().Succeeded
	}
	e.arrange(answers[extra:], resp.Header.Revision)
	return nil
}

// arrange finds out whom the entry waits for in each lane, from the answers to the
// lanes' reads.
func (e *entry) arrange(answers []*pb.ResponseOp, seen int64) {
	for i := range e.legs {
		g := &e.legs[i]
		g.before, answers = g.lane.before(answers, e.created, seen)
	}
}

// adopt takes an entry that exists under our keys for ours if it is: an earlier
// attempt went through although its reply did not. If there is none, it was refused
// because of why.
func (e *entry) adopt(resp *clientv3.TxnResponse, why error) error {
	if !e.adopted(resp) {
		if why != nil {
			return why
		}
		// Another library may use our lease: concurrency.WithLease.
		if e.q.Raw && !e.life.mayBePut() { // theirs may be the same
			e.value = e.record.Nonce
		}
		e.life.takenByAnother()
		return fmt.Errorf("%w: %q", errForeign, e.key())
	}
	// What is before it is not known; a position that cannot exist makes the
	// wake-up check find out.
	for i := range e.legs {
		e.legs[i].before = position{created: unknownRevision, seen: resp.Header.Revision}
	}
	return nil
}

// wrote reports whether kv, found where the entry was to be put, is what it put.
func (e *entry) wrote(kv *mvccpb.KeyValue) bool {
	if e.q.Raw { // the key is ours, so only an attempt before this one, or somebody who shares our lease
		return e.life.mayBePut() && string(kv.Value) == e.value && kv.Version == 1 && clientv3.LeaseID(kv.Lease) == e.lease.ID()
	}
	return Parse(kv).Record.Nonce == e.record.Nonce
}

// adopted reports whether the entry was found where it was to be put, and if so takes
// over what was read.
func (e *entry) adopted(resp *clientv3.TxnResponse) bool {
	kv := first(resp, 0)
	if kv == nil || !e.wrote(kv) {
		return false
	}
	e.life.found()
	e.becomeWaiting(kv.CreateRevision, kv.ModRevision, lease.HeaderOf(resp.Header))
	return true
}
