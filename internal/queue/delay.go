package queue

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/inside"
)

// A queue with a delay has a marker: a key that an owner puts when it is granted and
// deletes when it releases, in the same transaction as its entry. So whoever comes to
// the front and finds another's mark knows that the owner before was lost, and waits
// until it is gone. The idea is Chubby's lock-delay.
//
// The mark is attached to a lease of its own, which lives for the delay longer than the
// owner's: see markLease. So it goes by itself, the delay after its owner, whoever has
// come and left meanwhile.

// Delay is what the users of a queue in this process know about marks. It is shared by
// the copies of a Queue.
type Delay struct {
	length  time.Duration
	markers []string

	mu   sync.Mutex
	seen map[string]sighting // by marker
}

// sighting is a mark of somebody else's that was in the way.
type sighting struct {
	value string
	since time.Time // when it was first found so
	until time.Time // when it need not be waited for any more
}

// NewDelay returns the delay of a queue of one name and kind, whose grants leave a mark.
func NewDelay(name, kind string, length time.Duration) *Delay {
	return &Delay{length: length, markers: []string{marker(name, kind)}, seen: make(map[string]sighting)}
}

// MindDelays returns the delay of a queue that leaves no marks of its own, but waits for
// those of the given names.
func MindDelays(names []string, kind string) *Delay {
	d := &Delay{seen: make(map[string]sighting)}
	for _, name := range names {
		d.markers = append(d.markers, marker(name, kind))
	}
	return d
}

// Length returns how long the next grant waits after one that was lost.
func (d *Delay) Length() time.Duration {
	if d == nil {
		return 0
	}
	return d.length
}

// marks reports whether grants leave a mark.
func (d *Delay) marks() bool { return d.Length() > 0 }

// marker returns the key of the mark of a name and kind.
func marker(name, kind string) string { return Prefix(name, "delay") + kind }

// mark is what a mark says.
type mark struct {
	// Nonce is that of the owner's entry.
	Nonce string `json:"nonce"`
	// Owner describes the owner.
	Owner string `json:"owner,omitempty"`
	// Delay is how long the next shall wait.
	Delay time.Duration `json:"delay"`
}

func (m mark) encode() string {
	v, err := json.Marshal(m)
	if err != nil {
		panic("queue: a mark cannot be encoded: " + err.Error()) // strings and a number can
	}
	return string(v)
}

func parseMark(kv *mvccpb.KeyValue) mark {
	var m mark
	if err := json.Unmarshal(kv.Value, &m); err != nil {
		return mark{} // made by hand
	}
	return m
}

// found notes that a mark is in the way, and returns when it need not be waited for any
// more: the delay after it was first found so. A mark is known by its value, since one
// that was attached to another lease is still the same.
func (d *Delay) found(kv *mvccpb.KeyValue) (until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.seen[string(kv.Key)]
	if s.since.IsZero() || s.value != string(kv.Value) {
		now := time.Now()
		s = sighting{string(kv.Value), now, now.Add(d.of(kv))}
		d.seen[string(kv.Key)] = s
	}
	return s.until
}

// of returns the delay that a mark asks for: that of one made by hand is the queue's own.
func (d *Delay) of(kv *mvccpb.KeyValue) time.Duration {
	if asked := parseMark(kv).Delay; asked >= minDelay {
		return asked
	}
	return max(d.length, minDelay)
}

// minDelay is the shortest delay: TTLs have whole seconds.
const minDelay = time.Second

// free returns the conditions under which no mark is in the way: none is there, or only
// one that was waited for.
func (d *Delay) free() []clientv3.Cmp {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	conds := make([]clientv3.Cmp, len(d.markers))
	for i, key := range d.markers {
		conds[i] = clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
		if s, ok := d.seen[key]; ok && !time.Now().Before(s.until) {
			conds[i] = clientv3.Compare(clientv3.Value(key), "=", s.value)
		}
	}
	return conds
}

// forget forgets marks that are not there any more: found has those that are.
func (d *Delay) forget(found []*mvccpb.KeyValue) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.seen, func(key string, _ sighting) bool {
		return !slices.ContainsFunc(found, func(kv *mvccpb.KeyValue) bool { return string(kv.Key) == key })
	})
}

// reads returns operations that read the marks.
func (d *Delay) reads() []clientv3.Op {
	ops := make([]clientv3.Op, len(d.markers))
	for i, key := range d.markers {
		ops[i] = clientv3.OpGet(key)
	}
	return ops
}

// inTheWay notes which marks were found, and returns the first that has to be waited for,
// nil if none has.
func (d *Delay) inTheWay(found []*mvccpb.KeyValue) *mvccpb.KeyValue {
	d.forget(found)
	var first *mvccpb.KeyValue
	for _, kv := range found {
		if until := d.found(kv); first == nil && time.Now().Before(until) {
			first = kv
		}
	}
	return first
}

// minds reports whether the queue waits for marks although its grants leave none.
func (e *entry) minds() bool { return e.q.Delay != nil && !e.q.Delay.marks() }

// unmarked returns conditions that no mark is in the way, for a queue that minds marks
// and has no other way to find out.
func (e *entry) unmarked() []clientv3.Cmp {
	if !e.minds() {
		return nil
	}
	return e.q.Delay.free()
}

// ownMark returns the entry's mark.
func (e *entry) ownMark() string {
	return mark{Nonce: e.record.Nonce, Owner: e.record.Owner, Delay: e.q.Delay.length}.encode()
}

// putMark returns the operation that leaves the entry's mark.
func (e *entry) putMark() clientv3.Op {
	return clientv3.OpPut(e.q.Delay.markers[0], e.ownMark(), clientv3.WithLease(e.marks.id))
}

// marking returns operations, one if the queue's grants leave marks, that leave the mark
// together with an entry that owns at once.
func (e *entry) marking() []clientv3.Op {
	if !e.q.Delay.marks() {
		return nil
	}
	// Conditions of nested transactions are evaluated before anything is put.
	free := append(e.q.Delay.free(), e.legs[0].lane.free())
	return []clientv3.Op{clientv3.OpTxn(free, []clientv3.Op{e.putMark()}, nil)}
}

// unmarking returns operations, one if the queue's grants leave marks, that remove the
// mark if it is the entry's.
func (e *entry) unmarking() []clientv3.Op {
	if !e.q.Delay.marks() {
		return nil
	}
	key := e.q.Delay.markers[0]
	own := clientv3.Compare(clientv3.Value(key), "=", e.ownMark())
	return []clientv3.Op{clientv3.OpTxn([]clientv3.Cmp{own}, []clientv3.Op{clientv3.OpDelete(key)}, nil)}
}

// unmark removes the entry's mark in the background, if there is one: its lease has ended, or
// it was deleted, while nobody held it, so that nobody need wait.
func (e *entry) unmark() {
	if !e.q.Delay.marks() || !e.claimed {
		return
	}
	inside.Of(e.q.Session).Go(func(ctx context.Context) {
		ctx, cancel := context.WithDeadline(ctx, e.marks.expiry())
		defer cancel()
		err := attempt.Do(ctx, rpcTimeout(e.lease), func(ctx context.Context) error {
			_, err := e.q.Session.Client().Txn(ctx).Then(e.unmarking()...).Commit()
			return err
		})
		if err != nil && ctx.Err() == nil {
			e.log().Warn("queue: lock delay is waited for although nobody was lost", "error", err)
		}
	})
}

// claim returns once no lost owner's mark is in the way, and leaves the entry's own if
// the queue's grants do. The entry must be the first of its queue.
func (e *entry) claim(ctx context.Context, c *Call) error {
	if e.q.Delay == nil || e.claimed {
		return nil
	}
	ctx, done := e.bind(ctx)
	defer done()
	for {
		found, rev, err := e.tryClaim(ctx)
		if err != nil || found == nil {
			return err
		}
		until := e.q.Delay.found(found)
		e.lost = parseMark(found)
		e.log().Warn("queue: owner before was lost; waiting before the grant", "owner", e.lost.Owner, "for", time.Until(until))
		e.tellWaiting(c)
		if err := e.awaitMark(ctx, found, rev, until); err != nil {
			return err
		}
	}
}

// tryClaim puts the mark if no other is in the way, or finds out that none is if the
// queue's grants leave none. Otherwise it returns one that is, as of revision rev.
func (e *entry) tryClaim(ctx context.Context) (found *mvccpb.KeyValue, rev int64, err error) {
	free := e.q.Delay.free()
	for {
		resp, err := e.sendClaim(ctx, free)
		if err != nil {
			return nil, 0, err
		}
		if e.claimed = resp.Succeeded; e.claimed {
			return nil, 0, nil
		}
		if !e.is(first(resp, 0)) {
			return nil, 0, errOwnGone
		}
		marks := all(resp.Responses[1:])
		if own := e.ownAmong(marks); own != nil {
			if e.claimed = clientv3.LeaseID(own.Lease) == e.marks.id; e.claimed {
				return nil, 0, nil // by an earlier attempt
			}
			// One that an earlier process has left, on a lease that nobody renews.
			free = []clientv3.Cmp{clientv3.Compare(clientv3.Value(string(own.Key)), "=", e.ownMark())}
			continue
		}
		if found := e.q.Delay.inTheWay(marks); found != nil {
			return found, resp.Header.Revision, nil
		}
		free = e.q.Delay.free()
	}
}

// ownAmong returns the entry's own mark if it is among those found.
func (e *entry) ownAmong(marks []*mvccpb.KeyValue) *mvccpb.KeyValue {
	if e.q.Delay.marks() && len(marks) > 0 && string(marks[0].Value) == e.ownMark() {
		return marks[0]
	}
	return nil
}

// sendClaim sends the transaction of tryClaim, whose mark is put if the conditions hold.
func (e *entry) sendClaim(ctx context.Context, free []clientv3.Cmp) (*clientv3.TxnResponse, error) {
	var then []clientv3.Op
	if e.q.Delay.marks() {
		then = append(then, e.putMark())
	}
	otherwise := append([]clientv3.Op{clientv3.OpGet(e.key())}, e.q.Delay.reads()...)
	return e.commit(ctx, append(e.same(), free...), then, otherwise)
}

// awaitMark returns nil when the mark that was found at revision rev is gone, or need not
// be waited for any more. It waits as for an entry.
func (e *entry) awaitMark(ctx context.Context, found *mvccpb.KeyValue, rev int64, until time.Time) error {
	within, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	stream := e.keys.Stream()
	w := e.awaitPredecessor(within, stream, &leg{
		lane:   Lane{prefix: e.legs[0].lane.prefix, kind: behindAll{}},
		before: position{key: string(found.Key), created: found.CreateRevision, seen: rev},
	})
	switch {
	case ctx.Err() != nil:
		return attempt.Ended(ctx, w.err)
	case w.why == ownDeleted:
		return errOwnGone
	case w.why == lookNoticed:
		stream.Abandon()
	case w.why == watchFailed:
		attempt.Pause(within, firstWatchPause)
	}
	return nil
}

// all returns the keys that some reads have found.
func all(answers []*pb.ResponseOp) (found []*mvccpb.KeyValue) {
	for _, answer := range answers {
		found = append(found, answer.GetResponseRange().GetKvs()...)
	}
	return found
}
