package watch_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"github.com/conclave-go/conclave/watch"
)

// store is the truth: it makes the events of a store with few keys.
type store struct {
	revision int64
	kvs      map[string]*mvccpb.KeyValue
}

func newStore() *store { return &store{revision: 1, kvs: make(map[string]*mvccpb.KeyValue)} }

// put returns the event of a put at the present revision.
func (s *store) put(key, value string) *clientv3.Event {
	kv := &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), CreateRevision: s.revision, ModRevision: s.revision, Version: 1}
	if old := s.kvs[key]; old != nil {
		kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
	}
	s.kvs[key] = kv
	return putEvent(kv)
}

func putEvent(kv *mvccpb.KeyValue) *clientv3.Event {
	return &clientv3.Event{Type: clientv3.EventTypePut, Kv: kv}
}

// remove returns the event of a delete at the present revision.
func (s *store) remove(key string) *clientv3.Event {
	delete(s.kvs, key)
	return &clientv3.Event{Type: clientv3.EventTypeDelete, Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: s.revision}}
}

// batch makes one revision's batch.
func (s *store) batch(events ...func() *clientv3.Event) watch.Batch {
	s.revision++
	b := watch.Batch{Revision: s.revision}
	for _, ev := range events {
		b.Events = append(b.Events, ev())
	}
	return b
}

// putting and removing are batch's events.
func (s *store) putting(key, value string) func() *clientv3.Event {
	return func() *clientv3.Event { return s.put(key, value) }
}

func (s *store) removing(key string) func() *clientv3.Event {
	return func() *clientv3.Event { return s.remove(key) }
}

// state is what a snapshot of the store would show: values with their revisions.
func (s *store) state() map[string]string {
	all := make(map[string]string, len(s.kvs))
	for key, kv := range s.kvs {
		all[key] = fmt.Sprintf("%s@%d", kv.Value, kv.ModRevision)
	}
	return all
}

func stateOf(s watch.Snapshot[string]) map[string]string {
	all := make(map[string]string, s.Len())
	for key, item := range s.All() {
		all[key] = fmt.Sprintf("%s@%d", item.Value, item.ModRevision)
	}
	return all
}

func text(_ string, value []byte) (string, error) { return string(value), nil }

// follower checks and applies the changes that one consumer is given.
type follower struct {
	*watch.Reader[string]
	state map[string]string
	revs  map[string]int64
}

func (f *follower) read(t require.TestingT) {
	var last int64
	for _, change := range f.Next() {
		if _, known := f.state[change.Key]; known {
			require.Greater(t, change.Item.ModRevision, f.revs[change.Key], "a key's changes come in order, once")
		}
		require.GreaterOrEqual(t, change.Item.ModRevision, f.revs[change.Key])
		require.GreaterOrEqual(t, change.Item.ModRevision, last, "changes come in the order of their revisions")
		last, f.revs[change.Key] = change.Item.ModRevision, change.Item.ModRevision
		if change.Deleted {
			require.LessOrEqual(t, change.Item.CreateRevision, change.Item.ModRevision)
			delete(f.state, change.Key)
			continue
		}
		f.state[change.Key] = fmt.Sprintf("%s@%d", change.Item.Value, change.Item.ModRevision)
	}
}

// TestCacheMatchesAModel lets a store change at random, delivers its events in
// batches, some of them twice and some lost to a compaction, and compares cache,
// snapshots and consumers of every speed with the store.
func TestCacheMatchesAModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var (
			s         = newStore()
			c         = watch.Offline(text)
			snapshots = make(map[int]map[string]string)
			taken     []watch.Snapshot[string]
			followers []*follower
			sent      []watch.Batch
			keys      = rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"})
		)
		c.CutHistoryAt(rapid.IntRange(1, 20).Draw(t, "cut"))
		c.Apply(watch.Batch{Revision: s.revision, Snapshot: true})
		// change changes one to three keys in one revision.
		change := func() watch.Batch {
			var events []func() *clientv3.Event
			for _, key := range rapid.SliceOfNDistinct(keys, 1, 3, rapid.ID).Draw(t, "keys") {
				if s.kvs[key] != nil && rapid.Bool().Draw(t, "delete") {
					events = append(events, s.removing(key))
				} else {
					events = append(events, s.putting(key, strconv.Itoa(len(sent))))
				}
			}
			return s.batch(events...)
		}
		t.Repeat(map[string]func(*rapid.T){
			"change": func(*rapid.T) {
				b := change()
				sent = append(sent, b)
				c.Apply(b)
			},
			"several revisions in one batch": func(*rapid.T) {
				b := change()
				for range 3 {
					more := change()
					b.Events, b.Revision = append(b.Events, more.Events...), more.Revision
				}
				sent = append(sent, b)
				c.Apply(b)
			},
			"progress": func(*rapid.T) { c.Apply(s.batch()) },
			"repetition": func(t *rapid.T) {
				if len(sent) > 0 {
					c.Apply(sent[rapid.IntRange(0, len(sent)-1).Draw(t, "batch")])
				}
			},
			"compaction": func(*rapid.T) {
				for range 4 {
					change()
				}
				c.Apply(resync(c.Snapshot(), s))
			},
			"snapshot": func(*rapid.T) {
				snapshots[len(taken)] = s.state()
				taken = append(taken, c.Snapshot())
			},
			"join": func(*rapid.T) {
				initial, r := c.Join()
				f := &follower{Reader: r, state: stateOf(initial), revs: make(map[string]int64)}
				for key, item := range initial.All() {
					f.revs[key] = item.ModRevision
				}
				followers = append(followers, f)
			},
			"leave": func(t *rapid.T) {
				if len(followers) > 0 {
					i := rapid.IntRange(0, len(followers)-1).Draw(t, "who")
					followers[i].Leave()
					followers = slices.Delete(followers, i, i+1)
				}
			},
			"read": func(t *rapid.T) {
				if len(followers) > 0 {
					followers[rapid.IntRange(0, len(followers)-1).Draw(t, "who")].read(t)
				}
			},
			"": func(t *rapid.T) {
				require.Equal(t, s.state(), stateOf(c.Snapshot()))
				require.Equal(t, s.revision, c.Snapshot().Revision())
				for _, key := range []string{"a", "f", "x"} {
					item, ok := c.Get(key)
					fromTree, inTree := c.Snapshot().Get(key)
					require.Equal(t, s.kvs[key] != nil, ok)
					require.Equal(t, ok, inTree)
					require.Equal(t, item, fromTree)
				}
			},
		})
		for i, snapshot := range taken {
			require.Equal(t, snapshots[i], stateOf(snapshot), "a snapshot never changes")
		}
		for _, f := range followers {
			f.read(t)
			require.Equal(t, s.state(), f.state, "whoever has read everything has the present state")
			require.Empty(t, f.Next())
			f.Leave()
		}
		require.Zero(t, c.HistoryLen(), "without consumers there is no history")
	})
}

// resync makes the batch that brings what a cache has to the state of the store.
func resync(have watch.Snapshot[string], s *store) watch.Batch {
	s.revision++
	b := watch.Batch{Revision: s.revision, Resync: true}
	for _, kv := range s.kvs {
		if item, ok := have.Get(string(kv.Key)); !ok || item.ModRevision != kv.ModRevision {
			b.Events = append(b.Events, putEvent(kv))
		}
	}
	slices.SortFunc(b.Events, func(x, y *clientv3.Event) int { return int(x.Kv.ModRevision - y.Kv.ModRevision) })
	for key := range have.All() {
		if s.kvs[key] == nil {
			b.Events = append(b.Events, s.remove(key))
		}
	}
	return b
}

func TestHistoryIsBoundedByTheKeysASlowConsumerKnows(t *testing.T) {
	t.Parallel()
	const keys, limit = 50, 64
	s, c := newStore(), watch.Offline(text)
	c.CutHistoryAt(limit)
	for i := range keys {
		c.Apply(s.batch(s.putting(strconv.Itoa(i), "first")))
	}
	initial, slow := c.Join()
	require.Equal(t, keys, initial.Len())
	for i := range 10_000 { // keys come and go
		name := fmt.Sprintf("passing-%d", i)
		c.Apply(s.batch(s.putting(name, "value")))
		c.Apply(s.batch(s.removing(name), s.putting(strconv.Itoa(i%keys), "newer")))
		require.LessOrEqual(t, c.HistoryLen(), 4*keys)
	}
	for i := range keys { // those it knows all go
		c.Apply(s.batch(s.removing(strconv.Itoa(i))))
	}
	gone := make(map[string]bool)
	for changes := slow.Next(); len(changes) > 0; changes = slow.Next() {
		for _, change := range changes {
			require.True(t, change.Deleted, "%v", change)
			gone[change.Key] = true
		}
	}
	require.Len(t, gone, keys, "exactly what it knew: %v", slices.Sorted(maps.Keys(gone)))
	slow.Leave()
}

func TestConsumersTakeChangesInChunksOfWholeRevisions(t *testing.T) {
	t.Parallel()
	s, c := newStore(), watch.Offline(text)
	_, r := c.Join()
	defer r.Leave()
	const perRevision, revisions = 100, 10
	for i := range revisions {
		var events []func() *clientv3.Event
		for j := range perRevision {
			events = append(events, s.putting(fmt.Sprintf("%d-%d", i, j), "value"))
		}
		c.Apply(s.batch(events...))
	}
	total, chunks := 0, 0
	for changes := r.Next(); len(changes) > 0; changes = r.Next() {
		require.Zero(t, len(changes)%perRevision)
		total += len(changes)
		chunks++
	}
	require.Equal(t, perRevision*revisions, total)
	require.Greater(t, chunks, 1)
}

func TestLongDifferenceReachesEveryConsumer(t *testing.T) {
	t.Parallel()
	s, c := newStore(), watch.Offline(text)
	c.Apply(s.batch())
	_, r := c.Join()
	defer r.Leave()
	const keys = 1000 // several chunks
	for i := range keys {
		s.batch(s.putting(fmt.Sprintf("%06d", i*7919%keys), "value")) // in no order
	}
	b := watch.Batch{Resync: true, Revision: s.revision}
	b.Events = watch.Difference(maps.All(map[string]int64{}), slices.Collect(maps.Values(s.kvs)), s.revision)
	c.Apply(b)
	total := 0
	for changes := r.Next(); len(changes) > 0; changes = r.Next() {
		total += len(changes)
	}
	require.Equal(t, keys, total)
}
