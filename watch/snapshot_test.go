package watch_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/watch"
)

func keysOf(s watch.Snapshot[string], prefix string) (keys []string) {
	for key := range s.Prefix(prefix) {
		keys = append(keys, key)
	}
	return keys
}

func TestSnapshotIteratesInKeyOrder(t *testing.T) {
	t.Parallel()
	s, c := newStore(), watch.Offline(text)
	c.Apply(s.batch(s.putting("b/2", ""), s.putting("a", ""), s.putting("b", ""), s.putting("c", ""), s.putting("b/1", "")))
	snapshot := c.Snapshot()
	require.Equal(t, 5, snapshot.Len())
	require.Equal(t, s.revision, snapshot.Revision())
	require.Equal(t, []string{"a", "b", "b/1", "b/2", "c"}, keysOf(snapshot, ""))
	require.Equal(t, []string{"b/1", "b/2"}, keysOf(snapshot, "b/"))
	require.Equal(t, []string{"b", "b/1", "b/2"}, keysOf(snapshot, "b"))
	require.Empty(t, keysOf(snapshot, "bb"))
	require.Empty(t, keysOf(snapshot, "d"))
	for key := range snapshot.All() {
		require.Equal(t, "a", key)
		break
	}
	_, ok := snapshot.Get("b/3")
	require.False(t, ok)
}

func TestZeroSnapshotIsEmpty(t *testing.T) {
	t.Parallel()
	var snapshot watch.Snapshot[string]
	require.Zero(t, snapshot.Len())
	require.Zero(t, snapshot.Revision())
	_, ok := snapshot.Get("a")
	require.False(t, ok)
	require.Empty(t, keysOf(snapshot, ""))
	empty := watch.Offline(text).Snapshot()
	require.Zero(t, empty.Len())
	require.Empty(t, keysOf(empty, ""))
}

func TestSnapshotStaysAsItWasWhileWritersGoOn(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t)
	prefix, client := cluster.Prefix(t), cluster.Client(t)
	fill(t, client, prefix, 500, "0")
	c := newTextCache(t, client, prefix)
	var writers, readers sync.WaitGroup
	reading, stop := context.WithCancel(t.Context())
	for w := range 2 {
		writers.Go(func() {
			for i := range 200 {
				key := fmt.Sprintf("%s%06d", prefix, (i*7+w)%600)
				if i%5 == 0 {
					remove(t, client, key)
				} else {
					put(t, client, key, strconv.Itoa(i))
				}
			}
		})
	}
	var mu sync.Mutex
	taken := make(map[int64]watch.Snapshot[string])
	for range 2 {
		readers.Go(func() {
			for {
				snapshot := c.Snapshot()
				first := slices.Collect(values(snapshot))
				require.Len(t, first, snapshot.Len())
				mu.Lock()
				taken[snapshot.Revision()] = snapshot
				mu.Unlock()
				if c.WaitRevision(reading, snapshot.Revision()+1) != nil {
					return
				}
				require.Equal(t, first, slices.Collect(values(snapshot)))
			}
		})
	}
	writers.Wait()
	stop()
	readers.Wait()
	require.Greater(t, len(taken), 3)
	checked := 0
	for rev, snapshot := range taken {
		sameState(t, stored(t, client, prefix, rev), stateOf(snapshot))
		if checked++; checked == 30 {
			break
		}
	}
}

func values(s watch.Snapshot[string]) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, item := range s.All() {
			if !yield(item.Value) {
				return
			}
		}
	}
}

func TestGetAllocatesNothing(t *testing.T) {
	s, c := newStore(), watch.Offline(text)
	c.Apply(s.batch(s.putting("a", "1")))
	snapshot := c.Snapshot()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, _ = c.Get("a")
		_, _ = c.Get("b")
		_, _ = snapshot.Get("a")
	}))
}
