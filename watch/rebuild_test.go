package watch_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/watch"
)

func TestRebuiltStreamBeginsAnewWithTheState(t *testing.T) {
	t.Parallel()
	p, restored := goneBack(t, watch.WithSnapshot(), watch.WithRebuild())
	var b watch.Batch
	for !b.Rebuilt {
		var err error
		b, err, _ = p.pull()
		require.NoError(t, err)
	}
	require.True(t, b.Snapshot)
	require.False(t, b.Resync)
	require.Less(t, b.Revision, restored.last)
	require.Empty(t, b.Events)
	p.last = b.Revision
	rev := put(t, restored.client, "k", "after")
	require.Equal(t, []string{set("k", "after", rev)}, p.upTo(rev))
}

// The store had come to a higher revision before it was set back, which its member will not
// come to for long.
func TestRebuiltCacheDoesNotTakeTheMemberForOneThatIsBehind(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	client := c.Client(t, etcdtest.WithFastReconnect())
	client.SetEndpoints(c.Endpoints()[0], c.Endpoints()[0])
	require.Len(t, client.Endpoints(), 2, "a watch could go elsewhere")
	rebuilt := make(chan struct{}, 100)
	var behind atomic.Int32
	cache := newTextCache(t, client, "k/", watch.WithStall(watch.MinStall), watch.WithRebuild(), watch.WithObserver(watch.Observer{
		Rebuilt: func(*watch.Progress) { rebuilt <- struct{}{} },
		Reopened: func(_ *watch.Progress, why watch.Reason) {
			if why == watch.ReasonBehind {
				behind.Add(1)
			}
		},
	}))
	var last int64
	for range 400 {
		last = put(t, client, "k/a", "v")
	}
	require.NoError(t, cache.WaitRevision(guarded(t), last))
	data := filepath.Join(c.Etcd(0).Config().Dir, "member")
	require.NoError(t, c.Kill(0))
	require.NoError(t, os.RemoveAll(data))
	require.NoError(t, c.Restart(guarded(t), 0))
	<-rebuilt
	pace := time.NewTicker(watch.MinStall / 100) // so that the store does not come so far
	defer pace.Stop()
	for began := time.Now(); time.Since(began) < 2*watch.MinStall; <-pace.C {
		rev := put(t, client, "elsewhere", "v")
		require.Less(t, rev, last)
		require.NoError(t, cache.WaitRevision(guarded(t), rev))
	}
	require.Zero(t, behind.Load())
}

func TestRebuildIsForStreamsWithSnapshot(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	err := tapInto(t, watch.Stream(t.Context(), c.Client(t), "k", watch.WithRebuild())).fails()
	require.ErrorContains(t, err, "WithRebuild without WithSnapshot")
}

// The endpoints lead to another cluster, with other keys, and revisions that are lower or
// higher.
func TestRebuiltCacheHasTheStateOfTheOtherCluster(t *testing.T) {
	t.Parallel()
	for _, writes := range []int{0, 40} {
		before, after := etcdtest.New(t, etcdtest.WithControl()), etcdtest.New(t, etcdtest.WithControl())
		client, other := before.Client(t, etcdtest.WithFastReconnect()), after.Client(t)
		var rebuilt atomic.Int32
		cache := newTextCache(t, client, "k/", watch.WithStall(watch.MinStall), watch.WithRebuild(),
			watch.WithObserver(watch.Observer{Rebuilt: func(*watch.Progress) { rebuilt.Add(1) }}))
		put(t, client, "k/both", "before")
		require.NoError(t, cache.WaitRevision(guarded(t), put(t, client, "k/only before", "before")))
		told := make(chan watch.Change[string], 100)
		go func() {
			for change, err := range cache.Changes(t.Context()) {
				if err == nil {
					told <- change
				}
			}
		}()
		for range 2 {
			require.True(t, (<-told).Initial)
		}

		for range writes {
			put(t, other, "elsewhere", "v")
		}
		put(t, other, "k/both", "after")
		last := put(t, other, "k/only after", "after")
		client.SetEndpoints(after.Endpoints()...)
		require.NoError(t, before.Kill(0))

		state := make(map[string]string)
		for len(state) < 3 {
			change := <-told
			require.True(t, change.Rebuilt, "%+v", change)
			require.False(t, change.Initial)
			if !change.Deleted {
				state[change.Key] = change.Item.Value
			} else if change.Key == "k/only before" {
				state[change.Key] = "deleted"
			}
		}
		require.Equal(t, map[string]string{"k/both": "after", "k/only after": "after", "k/only before": "deleted"}, state)
		require.EqualValues(t, 1, rebuilt.Load())
		agrees(t, cache, other, "k/")
		require.NoError(t, cache.Err())
		require.NoError(t, cache.WaitRevision(guarded(t), last))

		rev := remove(t, other, "k/both")
		change := <-told
		require.True(t, change.Deleted)
		require.False(t, change.Rebuilt)
		require.Equal(t, "k/both", change.Key)
		require.Equal(t, rev, change.Item.ModRevision)
	}
}

// A reader that has not read the new state of a key knows it from before, and is told
// when it goes.
func TestDeletionAfterARebuildIsToldToWhoKnewTheKeyBefore(t *testing.T) {
	t.Parallel()
	c := watch.Offline(text)
	kv := func(key, value string, revision int64) *clientv3.Event {
		ev := &clientv3.Event{Type: clientv3.EventTypePut, Kv: kvOf(key, revision)}
		ev.Kv.CreateRevision, ev.Kv.Version, ev.Kv.Value = revision, 1, []byte(value)
		return ev
	}
	c.Apply(watch.Batch{Revision: 100, Snapshot: true, Events: []*clientv3.Event{kv("a", "1", 50), kv("b", "1", 60)}})
	_, r := c.Join()
	c.Apply(watch.Batch{Revision: 10, Snapshot: true, Rebuilt: true, Events: []*clientv3.Event{kv("a", "2", 5), kv("c", "2", 6)}})
	c.Apply(watch.Batch{Revision: 11, Events: []*clientv3.Event{{Type: clientv3.EventTypeDelete, Kv: kvOf("a", 11)}}})
	deleted := make(map[string]bool)
	for _, change := range r.Next() {
		deleted[change.Key] = change.Deleted
	}
	require.Equal(t, map[string]bool{"a": true, "b": true, "c": false}, deleted)
	revision, _ := c.Freshness()
	require.EqualValues(t, 11, revision)
	require.Equal(t, map[string]string{"c": "2@6"}, stateOf(c.Snapshot()))
}

func TestSnapshotsBeginWithTheWholeStateAndTellChangesTogether(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, prefix := c.Client(t), c.Prefix(t)
	fill(t, client, prefix, 1000, "v")
	cache := newTextCache(t, client, prefix)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	looks := 0
	for s, err := range cache.Snapshots(ctx) {
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
			break
		}
		switch looks++; looks {
		case 1:
			require.Equal(t, 1000, s.Len(), "complete at once")
			for i := range 10 {
				put(t, client, fmt.Sprint(prefix, "new", i), "v")
			}
			rev := put(t, client, "elsewhere", "v")
			require.NoError(t, cache.WaitRevision(guarded(t), rev))
		case 2:
			require.Equal(t, 1010, s.Len(), "what came meanwhile is told once")
			rev := put(t, client, "elsewhere", "v")
			require.NoError(t, cache.WaitRevision(guarded(t), rev), "this is no change of the cache")
			put(t, client, prefix+"last", "v")
		case 3:
			require.Equal(t, 1011, s.Len())
			cancel()
		}
	}
	require.Equal(t, 3, looks)
}

func TestSnapshotsEndWithTheCache(t *testing.T) {
	t.Parallel()
	c := watch.Offline(text)
	c.Apply(watch.Batch{Revision: 1, Snapshot: true})
	broken := errors.New("broken")
	looks := 0
	for _, err := range c.Snapshots(t.Context()) {
		if looks++; looks == 1 {
			require.NoError(t, err)
			c.Fail(broken)
			continue
		}
		require.ErrorIs(t, err, broken)
	}
	require.Equal(t, 2, looks)
	require.ErrorIs(t, c.WaitRevision(t.Context(), 1), broken, "also for a revision it had reached")
}

// What a reader far behind has to look through is much more than it is told.
func TestReaderFarBehindLooksAtLittleAtATime(t *testing.T) {
	t.Parallel()
	s, c := newStore(), watch.Offline(text)
	c.Apply(s.batch())
	_, r := c.Join()
	c.CutHistoryAt(1 << 30)
	const changes = 50_000
	for range changes {
		c.Apply(s.batch(s.putting("k", "v")))
	}
	require.Equal(t, changes, c.HistoryLen())
	steps := 0
	for {
		told, more := r.Step()
		if len(told) > 0 {
			require.Len(t, told, 1)
			break
		}
		require.True(t, more)
		steps++
	}
	require.Greater(t, steps, 20, "the lock is released in between")
}

func TestConsumerOfSnapshotsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	c := watch.Offline(text)
	c.Apply(watch.Batch{Revision: 1, Snapshot: true})
	ctx, cancel := context.WithCancel(t.Context())
	var consumers sync.WaitGroup
	busy, free := make(chan struct{}), make(chan struct{})
	consumers.Go(func() {
		for _, err := range c.Snapshots(ctx) {
			busy <- struct{}{}
			if err != nil {
				return
			}
			<-free
		}
	})
	<-busy
	for revision := range int64(100) {
		c.Apply(watch.Batch{Revision: 2 + revision, Events: []*clientv3.Event{{Kv: kvOf("k", 2+revision)}}})
	}
	cancel()
	close(free)
	<-busy // the error
	consumers.Wait()
}

// A decode function that does not return is all that a cache waits for.
func TestCloseWithAContextThatIsDoneWaitsForASecond(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, decoding, release := s.Client(), make(chan struct{}, 1), make(chan struct{})
		cache, err := watch.NewCache(t.Context(), client, "k", func(_ string, value []byte) (string, error) {
			if string(value) == "slow" {
				decoding <- struct{}{}
				<-release
			}
			return string(value), nil
		})
		require.NoError(t, err)
		put(t, client, "k", "slow")
		<-decoding
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		require.ErrorIs(t, cache.Close(ctx), context.Canceled)
		require.Equal(t, time.Second, time.Since(began))
		close(release)
		require.NoError(t, cache.Close(ctx))
	})
}
