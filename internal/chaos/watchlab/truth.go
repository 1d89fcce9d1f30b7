package watchlab

import (
	"context"
	"fmt"
	"slices"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// truth is every event there has been, as a member's own store tells it within this
// process: no client, connection or gRPC stream is on the way.
type truth struct {
	cluster *etcdtest.Cluster
	digester

	moving sync.Mutex // held while another member is turned to
	member int        // whose store is followed, none if negative
	stream mvcc.WatchStream
	reader sync.WaitGroup

	mu      sync.Mutex
	events  []event
	changed chan struct{} // closed by the next event
	err     error
}

// none is the member that is followed while there is none.
const none = -1

func newTruth(c *etcdtest.Cluster, d digester) *truth {
	return &truth{cluster: c, digester: d, member: none, changed: make(chan struct{})}
}

// follow goes on with the store of a member.
func (t *truth) follow(member int) error {
	t.moving.Lock()
	defer t.moving.Unlock()
	t.leave()
	etcd := t.cluster.Etcd(member)
	if etcd == nil {
		return fmt.Errorf("watchlab: truth: member %d does not run", member)
	}
	stream := etcd.Server.Watchable().NewWatchStream()
	_, err := stream.Watch(context.Background(), clientv3.AutoWatchID, []byte{0}, []byte{}, t.revision()+1)
	if err != nil {
		stream.Close()
		return fmt.Errorf("watchlab: truth: %w", err)
	}
	t.member, t.stream = member, stream
	t.reader.Go(func() { t.read(stream) })
	return nil
}

// avoid stops following a member that is about to be stopped, and turns to another if
// there is one.
func (t *truth) avoid(member int) error {
	t.moving.Lock()
	if t.member != member {
		t.moving.Unlock()
		return nil
	}
	t.leave()
	t.moving.Unlock()
	for i := range t.cluster.Size() {
		if i != member && t.cluster.Running(i) {
			return t.follow(i)
		}
	}
	return nil
}

// resume follows a member unless one is followed.
func (t *truth) resume(member int) error {
	t.moving.Lock()
	idle := t.member == none
	t.moving.Unlock()
	if idle {
		return t.follow(member)
	}
	return nil
}

func (t *truth) close() {
	t.moving.Lock()
	defer t.moving.Unlock()
	t.leave()
}

// leave stops following. moving must be held.
func (t *truth) leave() {
	if t.member != none {
		t.stream.Close()
		t.reader.Wait()
		t.member = none
	}
}

// read ends when the stream is closed.
func (t *truth) read(stream mvcc.WatchStream) {
	for resp := range stream.Chan() {
		t.add(resp)
	}
}

func (t *truth) add(resp mvcc.WatchResponse) {
	events := t.convertAll(resp.Events)
	t.mu.Lock()
	defer t.mu.Unlock()
	if resp.CompactRevision != 0 {
		t.err = fmt.Errorf("watchlab: truth: history up to %d was compacted before it was read", resp.CompactRevision)
	}
	t.events = append(t.events, events...)
	close(t.changed)
	t.changed = make(chan struct{})
}

// revision returns the store's revision as far as the truth has come. Every revision has
// an event.
func (t *truth) revision() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last()
}

// last is revision. mu must be held.
func (t *truth) last() int64 {
	if len(t.events) == 0 {
		return 1 // that of an empty store
	}
	return t.events[len(t.events)-1].mod
}

// await waits until the truth has come to a revision.
func (t *truth) await(ctx context.Context, revision int64) error {
	for {
		t.mu.Lock()
		last, changed, err := t.last(), t.changed, t.err
		t.mu.Unlock()
		if last >= revision || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("watchlab: truth: at %d, not %d: %w", last, revision, ctx.Err())
		}
	}
}

// between returns the events in a scope after one revision up to another.
func (t *truth) between(s scope, from, to int64) []event {
	t.mu.Lock()
	all := t.events[t.index(from):t.index(to)]
	t.mu.Unlock()
	var events []event
	for _, ev := range all {
		if key, ok := s.local(ev.key); ok {
			ev.key = key
			events = append(events, ev)
		}
	}
	return events
}

// index returns the index of the first event after a revision. mu must be held.
func (t *truth) index(revision int64) int {
	i, _ := slices.BinarySearchFunc(t.events, revision, func(ev event, revision int64) int {
		if ev.mod <= revision {
			return -1
		}
		return 1
	})
	return i
}
