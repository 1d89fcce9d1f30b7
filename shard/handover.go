package shard

import (
	"context"
	"path"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// soon and late bound how often the queues are read of shards that are to go to
	// others. A waiter is noticed that much later, and the shard is served meanwhile.
	soon = 5 * time.Millisecond
	late = 500 * time.Millisecond
	// mostReads is how many queues are read at once: etcd's limit of operations.
	mostReads = 128
)

// handOver tells owners to leave whose shard is another's by plan, as soon as somebody
// waits for it: so it is never without an owner because the next is slow or dead. It reads
// the queues instead of watching them, which needs no watch for each, and misses nothing
// when a connection breaks.
func (m *Member) handOver() {
	for pause := late; ; {
		due := m.toHandOver()
		if len(due) == 0 {
			select {
			case <-m.poke:
				pause = soon
				continue
			case <-m.life.Done():
				return
			}
		}
		if m.release(due) {
			pause = soon
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			pause = min(2*pause, late)
		case <-m.poke:
			pause = soon
		case <-m.life.Done():
		}
		timer.Stop()
		if m.life.Err() != nil {
			return
		}
	}
}

// toHandOver returns the shards to hand over that are owned, with what their ownership
// rests on. Those that need not wait for anybody leave at once.
func (m *Member) toHandOver() (due []*Ownership) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.claims {
		switch {
		case c.wanted || c.state != owning:
		case m.hasty, !m.draining.IsZero() && m.orphaned(c.id):
			c.leave()
		default:
			due = append(due, c.o)
		}
	}
	return due
}

// orphaned reports whether a plan that knows that this member drains gives the shard to
// nobody. mu must be held.
func (m *Member) orphaned(id ID) bool { return m.plan != nil && m.plan.owners[id] == "" }

// release tells those to leave for whose shard somebody waits, and reports whether there
// were any.
func (m *Member) release(due []*Ownership) (some bool) {
	for len(due) > 0 {
		now := due[:min(len(due), mostReads)]
		due = due[len(now):]
		waited, err := m.waitedFor(now)
		if err != nil {
			m.log.Debug("shard: queues of shards not read; trying again", "error", err)
			return false
		}
		m.mu.Lock()
		for _, o := range waited {
			if c := m.claims[o.shard]; c != nil && c.o == o && c.state == owning && !c.wanted {
				c.leave()
				some = true
			}
		}
		m.mu.Unlock()
	}
	return some
}

// waitedFor returns those of the ownerships for whose shard somebody else waits. Any member
// of the cluster may answer: what it has not heard of yet is found the next time.
func (m *Member) waitedFor(some []*Ownership) (waited []*Ownership, err error) {
	ops := make([]clientv3.Op, len(some))
	for i, o := range some {
		ops[i] = clientv3.OpGet(path.Dir(o.Key())+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly(),
			clientv3.WithMinCreateRev(o.Token().Revision()+1), clientv3.WithLimit(1), clientv3.WithSerializable())
	}
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(m.life), tryTimeout)
	defer cancel()
	resp, err := m.session.Client().Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return nil, err
	}
	for i, r := range resp.Responses {
		if len(r.GetResponseRange().Kvs) > 0 {
			waited = append(waited, some[i])
		}
	}
	return waited, nil
}
