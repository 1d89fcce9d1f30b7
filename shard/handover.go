package shard

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/watch"
)

const (
	// soon and late bound how often the queues are read of shards that are to go to
	// others, beside a watch that may have begun too late or be broken. A waiter is noticed
	// that much later, and the shard is served meanwhile.
	soon = 5 * time.Millisecond
	late = 500 * time.Millisecond
	// mostReads is how many queues are read at once: etcd's limit of operations.
	mostReads = 128
	// abreast is how many owners are told at a time where the server is near, and most however
	// far it is: one more for each span of time that a release takes at least. All are served
	// until they are told; of those that are told at once the second's release waits for the
	// answer to the first's, and all others of the group take their time, too.
	abreast, most, span = 1, 16, 2 * time.Millisecond
	// patient is after what time one whose function has not returned keeps no other waiting.
	patient = 10 * time.Millisecond
	// listening is how long after its coming a waiter is expected to hear of its turn:
	// clientv3 opens watches one by one. The shard is served until then.
	listening = 20 * time.Millisecond
	// never is for how long is waited where nothing is to go.
	never = time.Duration(math.MaxInt64)
)

// waiter is an entry that waits for a shard.
type waiter struct {
	key     string
	created int64
	since   time.Time // when it was noticed
}

// handOver tells owners to leave whose shard is another's by plan, as soon as somebody
// waits for it: so it is never without an owner because the next is slow or dead. While
// there are such shards one watch tells of those who come to wait for any shard of the group,
// and their queues are read now and then.
func (m *Member) handOver() {
	idle := func() {} // ends the watch
	defer func() { idle() }()
	pause, read, plan := soon, time.Time{}, int64(0)
	for {
		due, now := m.toHandOver()
		m.tellLeft()
		switch {
		case len(due) == 0:
			idle()
			idle, read = func() {}, time.Time{}
		case read.IsZero():
			idle = m.listen()
		}
		if now != plan {
			plan, pause, read = now, soon, time.Time{}
		}
		if len(due) > 0 && time.Since(read) >= pause {
			m.readQueues(due)
			if !read.IsZero() {
				pause = min(2*pause, late)
			}
			read = time.Now()
		}
		wait := never
		if len(due) > 0 {
			wait = max(pause-time.Since(read), 0)
		}
		if m.tell(due) {
			wait = min(wait, soon)
		}
		m.tellLeft()
		if !m.turn(wait) {
			return
		}
	}
}

// turn waits until there may be something to do: after a poke, or a time. It returns false
// at the member's end.
func (m *Member) turn(wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-m.poke:
	case <-m.life.Done():
	}
	return m.life.Err() == nil
}

// listen has a watch tell of who comes to wait, until it is ended.
func (m *Member) listen() (end func()) {
	ctx, cancel := context.WithCancel(m.life)
	var following sync.WaitGroup
	following.Go(func() {
		for {
			for batch, err := range watch.Stream(ctx, m.session.Client(), m.keys.locks(), watch.WithPrefix(), watch.WithLogger(m.log)) {
				if err == nil {
					m.heard(batch.Events)
				}
			}
			if !sleep(ctx, late) {
				return
			}
		}
	})
	return func() {
		cancel()
		following.Wait()
		m.mu.Lock()
		defer m.mu.Unlock()
		clear(m.waiting)
	}
}

// heard notes who waits for shards that are to go.
func (m *Member) heard(events []*clientv3.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range events {
		key := string(e.Kv.Key)
		what, _, id := m.keys.parse(key)
		c := m.claims[id]
		switch {
		case what != kindLock:
		case e.Type == clientv3.EventTypeDelete: // also while the shard is wanted: it may be due again
			if m.waiting[id].key == key {
				delete(m.waiting, id)
			}
		case c == nil || c.wanted:
		default:
			m.note(id, e.Kv)
			m.wake()
		}
	}
}

// note notes who waits for a shard. mu must be held.
func (m *Member) note(id ID, kv *mvccpb.KeyValue) {
	if w := m.waiting[id]; w.created < kv.CreateRevision {
		m.waiting[id] = waiter{string(kv.Key), kv.CreateRevision, time.Now()}
	}
}

// toHandOver returns the shards to hand over that are owned, with what their ownership
// rests on, and the revision of the plan that says so. Those that need not wait for anybody
// leave at once.
func (m *Member) toHandOver() (due []*Ownership, plan int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.claims {
		switch {
		case c.wanted || c.state != owning:
		case m.hasty, m.plannedFor(c.id, "") && (m.meant || !m.draining.IsZero()):
			c.leave()
		case m.meant && m.plannedFor(c.id, m.name): // it drains, and nobody waits before the plan has changed
		default:
			due = append(due, c.o)
		}
	}
	if m.plan != nil {
		plan = m.plan.revision
	}
	return due, plan
}

// plannedFor reports whether the plan gives a shard to a member, or to nobody. mu must be held.
func (m *Member) plannedFor(id ID, name string) bool {
	return m.plan != nil && m.plan.owners[id] == name
}

// tell tells owners to leave for whose shard somebody waits, as many as may be told now, and
// reports whether there are more.
func (m *Member) tell(due []*Ownership) (more bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	// Who has waited longest has listened longest.
	slices.SortFunc(due, func(a, b *Ownership) int {
		return cmp.Compare(m.waiting[a.shard].created, m.waiting[b.shard].created)
	})
	room := m.room()
	for _, o := range due {
		c, w := m.claims[o.shard], m.waiting[o.shard]
		switch {
		case c == nil || c.o != o || c.state != owning || c.wanted || w.created <= o.Token().Revision():
		case room <= 0 || time.Since(w.since) < listening:
			more = true
		default:
			c.leave()
			room--
		}
	}
	return more
}

// room returns how many owners more may be told to leave now. mu must be held.
func (m *Member) room() int {
	room := min(abreast+int(m.quickest/span), most)
	for _, c := range m.claims {
		if !c.wanted && (c.state == releasing || c.state == leaving && time.Since(c.told) < patient) {
			room--
		}
	}
	return room
}

// released notes how long a release has taken.
func (m *Member) released(took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.quickest == 0 || took < m.quickest {
		m.quickest = took
	}
}

// readQueues finds out who waits for shards. Any member of the cluster may answer: what it
// has not heard of yet is found the next time.
func (m *Member) readQueues(due []*Ownership) {
	for some := range slices.Chunk(due, mostReads) {
		ops := make([]clientv3.Op, len(some))
		for i, o := range some {
			ops[i] = clientv3.OpGet(m.keys.queue(o.shard), clientv3.WithPrefix(), clientv3.WithKeysOnly(),
				clientv3.WithMinCreateRev(o.Token().Revision()+1), clientv3.WithLimit(1), clientv3.WithSerializable())
		}
		ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(m.life), tryTimeout)
		resp, err := m.session.Client().Txn(ctx).Then(ops...).Commit()
		cancel()
		if err != nil {
			m.log.Debug("shard: queues of shards not read; trying again", "error", err)
			return
		}
		m.mu.Lock()
		for i, r := range resp.Responses {
			for _, kv := range r.GetResponseRange().Kvs {
				m.note(some[i].shard, kv)
			}
		}
		m.mu.Unlock()
	}
}
