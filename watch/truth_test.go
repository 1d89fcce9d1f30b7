package watch_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/watch"
)

// truth is every event under a prefix, as a member's own store tells it.
type truth struct {
	prefix string
	events []*clientv3.Event
	seen   atomic.Int64 // the revision of the last of events
}

// recordTruth watches the store of member i, which must not be restarted, until
// the key prefix+"end" is written. The result may be used once done is closed.
func recordTruth(t *testing.T, c *etcdtest.Cluster, i int, prefix string) (tr *truth, done <-chan struct{}) {
	t.Helper()
	stream := c.Etcd(i).Server.Watchable().NewWatchStream()
	end := clientv3.GetPrefixRangeEnd(prefix)
	_, err := stream.Watch(t.Context(), mvcc.WatchID(0), []byte(prefix), []byte(end), 0)
	require.NoError(t, err)
	tr, finished := &truth{prefix: prefix}, make(chan struct{})
	go func() {
		defer close(finished)
		defer stream.Close()
		for resp := range stream.Chan() {
			tr.events = append(tr.events, resp.Events...)
			if len(tr.events) == 0 {
				continue
			}
			last := tr.events[len(tr.events)-1].Kv
			tr.seen.Store(last.ModRevision)
			if string(last.Key) == prefix+"end" {
				return
			}
		}
	}()
	return tr, finished
}

// between returns the events after one revision up to another.
func (tr *truth) between(from, to int64) []*clientv3.Event {
	return tr.events[tr.index(from):tr.index(to)]
}

// index returns the index of the first event after a revision.
func (tr *truth) index(revision int64) int {
	i, _ := slices.BinarySearchFunc(tr.events, revision, func(ev *clientv3.Event, revision int64) int {
		if ev.Kv.ModRevision <= revision {
			return -1
		}
		return 1
	})
	return i
}

// latest returns the last event of each key, in order.
func latest(events []*clientv3.Event) []*clientv3.Event {
	seen := make(map[string]bool)
	var all []*clientv3.Event
	for _, ev := range slices.Backward(events) {
		if key := string(ev.Kv.Key); !seen[key] {
			seen[key] = true
			all = append(all, ev)
		}
	}
	slices.Reverse(all)
	return all
}

// state is what there is: each key with its last PUT.
type state map[string]*clientv3.Event

func (s state) apply(events []*clientv3.Event) {
	for _, ev := range events {
		if ev.Type == clientv3.EventTypeDelete {
			delete(s, string(ev.Kv.Key))
		} else {
			s[string(ev.Kv.Key)] = ev
		}
	}
}

// describe is all there is to an event.
func describe(ev *clientv3.Event) string {
	return fmt.Sprintf("%v %q = %q created %d modified %d version %d lease %d",
		ev.Type, ev.Kv.Key, ev.Kv.Value, ev.Kv.CreateRevision, ev.Kv.ModRevision, ev.Kv.Version, ev.Kv.Lease)
}

// same requires that two lists of events are equal and shows the first difference.
func same(t *testing.T, want, got []*clientv3.Event, b watch.Batch, from int64) {
	t.Helper()
	for i := range min(len(want), len(got)) {
		require.Equal(t, describe(want[i]), describe(got[i]), "event %d of the batch from %d to %d", i, from, b.Revision)
	}
	require.Len(t, got, len(want), "the batch from %d to %d", from, b.Revision)
}

// check requires that what a stream delivered is the truth, batch by batch.
func (tr *truth) check(t *testing.T, batches []watch.Batch, conflated bool) (tally tally) {
	t.Helper()
	have, from := make(state), int64(0)
	for i, b := range batches {
		require.Greater(t, b.Revision, from)
		steps := tr.between(from, b.Revision)
		if i == 0 && !b.Snapshot {
			steps = nil // it says where the stream begins
			have.apply(tr.between(0, b.Revision))
		}
		switch {
		case b.Snapshot:
			require.Zero(t, i, "the snapshot comes first")
			have.apply(steps)
			tr.checkSnapshot(t, have, b)
		case b.Resync:
			tally.resyncs++
			old := make(state)
			old.apply(tr.between(0, from))
			have.apply(steps)
			tr.checkResync(t, old, have, b)
		case conflated:
			have.apply(steps)
			same(t, latest(steps), latest(b.Events), b, from)
			require.Len(t, latest(b.Events), len(b.Events), "one event for each key")
		default:
			have.apply(steps)
			same(t, steps, b.Events, b, from)
		}
		tally.events += len(b.Events)
		from = b.Revision
	}
	tally.last = from
	return tally
}

// tally is what became of a stream.
type tally struct {
	events, resyncs int
	last            int64
}

func (tr *truth) checkSnapshot(t *testing.T, have state, b watch.Batch) {
	t.Helper()
	require.Len(t, b.Events, len(have))
	for _, ev := range b.Events {
		require.Equal(t, describe(have[string(ev.Kv.Key)]), describe(ev))
	}
}

// checkResync requires that b has exactly the keys in which two states differ.
func (tr *truth) checkResync(t *testing.T, old, have state, b watch.Batch) {
	t.Helper()
	left := make(map[string]bool)
	for key, ev := range have {
		if before := old[key]; before == nil || before.Kv.ModRevision != ev.Kv.ModRevision {
			left[key] = true
		}
	}
	for key := range old {
		if have[key] == nil {
			left[key] = true
		}
	}
	for _, ev := range b.Events {
		key := string(ev.Kv.Key)
		require.True(t, left[key], "%s is no difference, or twice", key)
		delete(left, key)
		want := have[key]
		if want == nil {
			want = &clientv3.Event{Type: clientv3.EventTypeDelete, Kv: &mvccpb.KeyValue{Key: ev.Kv.Key, ModRevision: b.Revision}}
		}
		require.Equal(t, describe(want), describe(ev))
	}
	require.Empty(t, left, "differences that are missing")
}

// writer makes random changes under a prefix.
type writer struct {
	client *clientv3.Client
	prefix string
	draw   *rand.Rand
	lease  clientv3.LeaseID
}

// maxChanges is the most that a transaction changes.
const maxChanges = 100

// change commits one random transaction; it returns how many keys it changed at most.
func (w *writer) change(ctx context.Context) (int, error) {
	switch w.draw.IntN(40) {
	case 0:
		if w.lease != 0 {
			_, err := w.client.Revoke(ctx, w.lease)
			w.lease = 0
			return 0, err
		}
		grant, err := w.client.Grant(ctx, int64(1+w.draw.IntN(60)))
		if err == nil {
			w.lease = grant.ID
		}
		return 0, err
	case 1:
		from := w.draw.IntN(1000)
		_, err := w.client.Delete(ctx, w.key(from), clientv3.WithRange(w.key(from+10)))
		return 0, err
	}
	keys := w.draw.Perm(1000)[:1+w.draw.IntN(maxChanges)]
	ops := make([]clientv3.Op, len(keys))
	for i, k := range keys {
		switch w.draw.IntN(8) {
		case 0:
			ops[i] = clientv3.OpDelete(w.key(k))
		case 1:
			ops[i] = clientv3.OpPut(w.key(k), w.value(), clientv3.WithLease(w.lease))
		default:
			ops[i] = clientv3.OpPut(w.key(k), w.value())
		}
	}
	_, err := w.client.Txn(ctx).Then(ops...).Commit()
	return len(ops), err
}

func (w *writer) key(i int) string { return fmt.Sprintf("%skey-%04d", w.prefix, i) }

func (w *writer) value() string { return fmt.Sprint(w.draw.Uint64()) }

// storm is what happens to the cluster of a test of the truth.
type storm struct {
	t       *testing.T
	cluster *etcdtest.Cluster
	prefix  string
	target  int64 // events
	truth   *truth
	written atomic.Int64
}

// write lets writers change keys until there are enough events.
func (s *storm) write(ctx context.Context, writers int) {
	var wg sync.WaitGroup
	for i := range writers {
		client := s.cluster.Client(s.t, etcdtest.ViaMember(0), etcdtest.WithFastReconnect())
		w := &writer{client: client, prefix: s.prefix, draw: rand.New(rand.NewPCG(uint64(i), 1))}
		wg.Go(func() {
			for s.written.Load() < s.target && ctx.Err() == nil {
				// Transactions fail while the leader changes, or when their lease has
				// expired. Whether they took effect the truth knows.
				n, err := w.change(ctx)
				if err == nil {
					s.written.Add(int64(n))
				} else {
					w.lease = 0
				}
			}
		})
	}
	wg.Wait()
}

// compact compacts every few hundred revisions until ctx ends: the more often, the fewer there are.
func (s *storm) compact(ctx context.Context) {
	every := suite.Long[int64](12, 200)
	client := s.cluster.Client(s.t, etcdtest.ViaMember(0), etcdtest.WithFastReconnect())
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for last := int64(0); ctx.Err() == nil; <-ticker.C {
		resp, err := client.Get(ctx, s.prefix, clientv3.WithCountOnly())
		if err != nil || resp.Header.Revision < last+every {
			continue
		}
		// The truth is not compacted away.
		if _, err := client.Compact(ctx, min(resp.Header.Revision-every/10, s.truth.seen.Load())); err == nil {
			last = resp.Header.Revision
		}
	}
}

// trouble breaks connections and restarts the members that are not the truth's until
// ctx ends.
func (s *storm) trouble(ctx context.Context, nets []*etcdtest.Net) {
	draw := rand.New(rand.NewPCG(1, 2))
	for i := 0; ctx.Err() == nil; i++ {
		switch i % 4 {
		case 0, 2:
			nets[draw.IntN(len(nets))].Reset()
		case 1:
			member := 1 + draw.IntN(2)
			if s.cluster.Kill(member) == nil {
				require.NoError(s.t, s.cluster.Restart(s.t.Context(), member))
			}
		case 3:
			_ = s.cluster.MoveLeader(ctx)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(draw.IntN(200)) * time.Millisecond):
		}
	}
}

// log is what a stream delivered.
type log struct {
	batches []watch.Batch
	err     error
}

// consume takes batches until there is one with the last event of the truth. After each
// of them it waits for as long as slow says.
func (s *storm) consume(ctx context.Context, client *clientv3.Client, slow func(events int) time.Duration, opts ...watch.Option) (l log) {
	for b, err := range watch.Stream(ctx, client, s.prefix, append(opts, watch.WithPrefix())...) {
		if err != nil {
			l.err = err
			return l
		}
		l.batches = append(l.batches, b)
		for _, ev := range b.Events {
			if string(ev.Kv.Key) == s.prefix+"end" {
				return l
			}
		}
		if d := slow(len(b.Events)); d > 0 {
			select {
			case <-time.After(d):
			case <-ctx.Done():
			}
		}
	}
	return l
}

//nolint:tparallel // what the subtests look at is there by then
func TestStreamsTellTheTruthThroughFaults(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	s := &storm{t: t, cluster: c, prefix: c.Prefix(t), target: suite.Long[int64](3_000, 110_000/scale)}
	tr, recorded := recordTruth(t, c, 0, s.prefix)
	s.truth = tr

	quick := func(int) time.Duration { return 0 }
	each := suite.Long(400*time.Microsecond, 50*time.Microsecond) // so that compaction overtakes the slow ones
	slow := func(events int) time.Duration { return time.Duration(events) * each }
	streams := []struct {
		name     string
		slow     func(int) time.Duration
		opts     []watch.Option
		conflate bool
		mayEnd   bool
	}{
		{name: "quick with snapshot", slow: quick, opts: []watch.Option{watch.WithSnapshot()}},
		{name: "slow with snapshot", slow: slow, opts: []watch.Option{watch.WithSnapshot(), watch.WithBuffer(100_000)}},
		{name: "slow conflating", slow: slow, opts: []watch.Option{watch.WithSnapshot(), watch.WithConflation(), watch.WithBuffer(100_000)}, conflate: true},
		{name: "quick from now", slow: quick, mayEnd: true},
		{name: "slow from now", slow: slow, opts: []watch.Option{watch.WithBuffer(100_000)}, mayEnd: true},
	}
	logs := make([]log, len(streams))
	nets := make([]*etcdtest.Net, len(streams))
	var consumers, background sync.WaitGroup
	for i, st := range streams {
		var client *clientv3.Client
		client, nets[i] = c.ProxiedClient(t, etcdtest.WithFastReconnect())
		opts := append([]watch.Option{watch.WithStall(2 * time.Second)}, st.opts...)
		consumers.Go(func() { logs[i] = s.consume(ctx, client, st.slow, opts...) })
	}
	weather, clearUp := context.WithCancel(ctx)
	background.Go(func() { s.compact(weather) })
	background.Go(func() { s.trouble(weather, nets) })
	s.write(ctx, 4)
	clearUp()
	background.Wait()
	put(t, c.Client(t), s.prefix+"end", "")
	select {
	case <-recorded:
	case <-time.After(guard):
		require.FailNow(t, "the end was not recorded")
	}
	defer time.AfterFunc(guard, cancel).Stop() // so that the consumers end
	consumers.Wait()

	if scale == 1 {
		require.GreaterOrEqual(t, len(tr.events), int(s.target*9/10))
	}
	last := tr.events[len(tr.events)-1].Kv.ModRevision
	t.Logf("%d events in %d revisions", len(tr.events), last-tr.events[0].Kv.ModRevision)
	for i, st := range streams {
		t.Run(st.name, func(t *testing.T) {
			tally := tr.check(t, logs[i].batches, st.conflate)
			t.Logf("%d events in %d batches, %d resyncs, then %v", tally.events, len(logs[i].batches), tally.resyncs, logs[i].err)
			if st.mayEnd && logs[i].err != nil {
				var compacted *watch.CompactedError
				require.ErrorAs(t, logs[i].err, &compacted)
				require.GreaterOrEqual(t, compacted.Requested, tally.last+1)
				require.Greater(t, compacted.Compacted, compacted.Requested)
				return
			}
			require.NoError(t, logs[i].err)
			require.Equal(t, last, tally.last)
		})
	}
}
