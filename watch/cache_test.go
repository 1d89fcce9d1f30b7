package watch_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/watch"
)

func TestCacheLoadsAllPagesAtOneRevision(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t)
	prefix := cluster.Prefix(t)
	rec := &etcdtest.Recorder{}
	client, writer := cluster.Client(t, etcdtest.WithRecorder(rec)), cluster.Client(t)
	const keys = 3500
	fill(t, writer, prefix, keys, "before")
	// Each page but the first finds the store changed.
	pages := 0
	remove := rec.Hook("Range", func(_ context.Context, req any, invoke func() error) error {
		if r, ok := req.(*pb.RangeRequest); ok && len(r.RangeEnd) > 0 && !r.CountOnly {
			if pages++; pages > 1 {
				require.Positive(t, r.Revision, "the page is pinned to a revision")
				put(t, writer, prefix+"000000", strconv.Itoa(pages))
				put(t, writer, fmt.Sprintf("%snew-%d", prefix, pages), "new")
			}
		}
		return invoke()
	})
	c := newTextCache(t, client, prefix)
	remove()
	require.Greater(t, pages, 2)
	s := c.Snapshot()
	require.GreaterOrEqual(t, s.Len(), keys)
	sameState(t, stored(t, writer, prefix, s.Revision()), stateOf(s))
	agrees(t, c, writer, prefix)
}

func TestCacheFollowsPutsDeletesAndExpiredLeases(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		const prefix = "p/"
		client, ctx := s.Client(), t.Context()
		put(t, client, prefix+"a", "1")
		c := newTextCache(t, client, prefix)
		item, ok := c.Get(prefix + "a")
		require.True(t, ok)
		require.Equal(t, "1", item.Value)
		require.EqualValues(t, 1, item.Version)

		lease, err := client.Grant(ctx, 60)
		require.NoError(t, err)
		rev := put(t, client, prefix+"a", "2", clientv3.WithLease(lease.ID))
		require.NoError(t, c.WaitRevision(ctx, rev))
		item, ok = c.Get(prefix + "a")
		require.True(t, ok)
		require.Equal(t, watch.Item[string]{
			Value: "2", ModRevision: rev, CreateRevision: item.CreateRevision, Version: 2, Lease: lease.ID,
		}, item)
		require.Less(t, item.CreateRevision, rev)

		for change, err := range c.Changes(ctx) { // until the lease expires
			require.NoError(t, err)
			if change.Deleted {
				require.Equal(t, prefix+"a", change.Key)
				break
			}
		}
		_, ok = c.Get(prefix + "a")
		require.False(t, ok)

		require.NoError(t, c.WaitRevision(ctx, put(t, client, prefix+"a", "3")))
		item, _ = c.Get(prefix + "a")
		require.EqualValues(t, 1, item.Version, "a key that was created again")
		require.NoError(t, c.WaitRevision(ctx, remove(t, client, prefix, clientv3.WithPrefix())))
		require.Zero(t, c.Snapshot().Len())
	})
}

func TestCacheDoesNotKnowKeysBesideThePrefix(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.WithControl())
	client := cluster.Client(t)
	put(t, client, "a/1", "in")
	put(t, client, "a0", "out") // the key after "a/..."
	c := newTextCache(t, client, "a/")
	put(t, client, "a", "out")
	put(t, client, "a/2", "in")
	agrees(t, c, client, "a/")
	require.Equal(t, 2, c.Snapshot().Len())
	all := newTextCache(t, client, "", watch.WithKeyspace())
	require.Equal(t, 4, all.Snapshot().Len())
}

func TestCacheWorksInANamespace(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t)
	outside, prefix := cluster.Client(t), cluster.Prefix(t)
	client := cluster.Client(t)
	client.KV = namespace.NewKV(client.KV, prefix)
	client.Watcher = namespace.NewWatcher(client.Watcher, prefix)
	put(t, outside, prefix+"x/1", "loaded")
	c := newTextCache(t, client, "x/")
	rev := put(t, outside, prefix+"x/2", "followed")
	require.NoError(t, c.WaitRevision(guarded(t), rev))
	for key, value := range map[string]string{"x/1": "loaded", "x/2": "followed"} {
		item, ok := c.Get(key)
		require.True(t, ok, key)
		require.Equal(t, value, item.Value)
	}
	require.Equal(t, 2, c.Snapshot().Len())
}

func TestWaitRevisionShowsOwnWrites(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.WithMembers(3))
	prefix := cluster.Prefix(t)
	c := newTextCache(t, cluster.Client(t), prefix)
	var wg sync.WaitGroup
	for w := range 2 {
		client := cluster.Client(t)
		wg.Go(func() {
			for i := range 100 {
				key := fmt.Sprintf("%s%d-%d", prefix, w, i%5)
				if i%4 == 3 { // a write elsewhere, which the cache is not told about
					require.NoError(t, c.WaitRevision(guarded(t), put(t, client, fmt.Sprintf("elsewhere-%d", w), "")))
				}
				rev := put(t, client, key, strconv.Itoa(i))
				require.NoError(t, c.WaitRevision(guarded(t), rev))
				item, ok := c.Get(key)
				require.True(t, ok)
				require.GreaterOrEqual(t, item.ModRevision, rev)
				if item.ModRevision == rev { // else a put that was repeated has come through late
					require.Equal(t, strconv.Itoa(i), item.Value)
				}
				require.GreaterOrEqual(t, c.Snapshot().Revision(), rev)
			}
		})
	}
	wg.Wait()
	agrees(t, c, cluster.Client(t), prefix)
}

func TestWaitRevisionOnAQuietPrefixDoesNotWaitForAChange(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t)
	prefix, client := cluster.Prefix(t), cluster.Client(t)
	c := newTextCache(t, client, prefix+"quiet/")
	for range 3 {
		rev := put(t, client, prefix+"loud", "")
		// etcd reports progress on its own every ten minutes; the guard is four.
		require.NoError(t, c.WaitRevision(guarded(t), rev))
	}
}

func TestWaitRevisionIsNotTooEarlyWhileDisconnected(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t)
	prefix, writer := cluster.Prefix(t), cluster.Client(t)
	client, net := cluster.ProxiedClient(t, etcdtest.WithFastReconnect())
	c := newTextCache(t, client, prefix)
	net.Refuse()
	rev := put(t, writer, prefix+"a", "1")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := c.WaitRevision(ctx, rev)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, fmt.Sprintf("watch: waiting for revision %d", rev))
	net.Heal()
	require.NoError(t, c.WaitRevision(guarded(t), rev))
	_, ok := c.Get(prefix + "a")
	require.True(t, ok)
}

func TestWaitRevisionEndsWithContextAndCache(t *testing.T) {
	t.Parallel()
	s, c := newStore(), watch.Offline(text)
	c.Apply(s.batch())
	require.NoError(t, c.WaitRevision(finished(t), s.revision), "what has been reached needs no wait")
	require.NoError(t, c.WaitRevision(t.Context(), 0))
	require.ErrorIs(t, c.WaitRevision(finished(t), s.revision+1), context.Canceled)
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	require.ErrorIs(t, c.WaitRevision(ctx, s.revision+1), why)
	waits := make(chan error)
	go func() { waits <- c.WaitRevision(guarded(t), s.revision+1) }()
	require.NoError(t, c.Close(t.Context()))
	require.ErrorIs(t, <-waits, watch.ErrClosed)
	require.ErrorIs(t, c.WaitRevision(t.Context(), s.revision), watch.ErrClosed, "what it had is no longer kept up to date")
}

func TestCachesOfOneClientHaveAGRPCStreamEach(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t)
	prefix, rec := cluster.Prefix(t), &etcdtest.Recorder{}
	client := cluster.Client(t, etcdtest.WithRecorder(rec))
	const caches = 20
	all := make([]*watch.Cache[string], caches)
	for i := range all {
		all[i] = newTextCache(t, client, fmt.Sprintf("%s%d/", prefix, i), watch.WithStall(time.Hour)) // one opening each
	}
	rev := put(t, client, prefix+"7/a", "1")
	for _, c := range all {
		require.NoError(t, c.WaitRevision(guarded(t), rev))
	}
	require.Equal(t, 1, all[7].Snapshot().Len())
	require.Equal(t, caches, rec.Count("WatchStream"))
}

func TestClosedCacheStaysReadable(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t)
	prefix, client := cluster.Prefix(t), cluster.Client(t)
	put(t, client, prefix+"a", "1")
	c, err := watch.NewCache(guarded(t), client, prefix, text)
	require.NoError(t, err)
	require.NoError(t, c.Err())
	require.NoError(t, c.Close(finished(t)), "what ends at once is waited for")
	require.ErrorIs(t, c.Err(), watch.ErrClosed)
	require.NoError(t, c.Close(guarded(t)))
	require.NoError(t, c.Close(guarded(t)), "again")
	require.ErrorIs(t, c.Err(), watch.ErrClosed)
	_, ok := c.Get(prefix + "a")
	require.True(t, ok)
	require.Equal(t, 1, c.Snapshot().Len())
}

func TestCacheOutlivesTheContextOfItsLoad(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t)
	prefix, client := cluster.Prefix(t), cluster.Client(t)
	ctx, cancel := context.WithCancel(t.Context())
	c, err := watch.NewCache(ctx, client, prefix, text)
	require.NoError(t, err)
	closeAfter(t, c)
	cancel()
	require.NoError(t, c.WaitRevision(guarded(t), put(t, client, prefix+"a", "1")))
	require.NoError(t, c.Err())
}

func TestFreshnessTellsTheRevisionAndTheLastContact(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t)
	prefix, client := cluster.Prefix(t), cluster.Client(t)
	start := time.Now()
	c := newTextCache(t, client, prefix)
	loaded, at := c.Freshness()
	require.False(t, at.Before(start))
	rev := put(t, client, prefix+"a", "1")
	require.NoError(t, c.WaitRevision(guarded(t), rev))
	revision, later := c.Freshness()
	require.GreaterOrEqual(t, revision, rev)
	require.Greater(t, revision, loaded)
	require.False(t, later.Before(at))
}

func TestLoadEndsWithItsContextDuringAPartition(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t)
	rec := &etcdtest.Recorder{}
	client, net := cluster.ProxiedClient(t, etcdtest.WithRecorder(rec))
	put(t, client, cluster.Prefix(t)+"a", "1") // it was connected before
	net.Cut()
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := watch.NewCache(ctx, client, "prefix", text)
		failed <- err
	}()
	eventually(t, func() bool { return rec.Count("Range") > 0 }, "it asks")
	cancel()
	select {
	case err := <-failed:
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, `watch: loading the cache of "prefix"`)
	case <-time.After(guard):
		require.FailNow(t, "NewCache hangs")
	}
}

func TestNewCacheRefusesWrongArguments(t *testing.T) {
	t.Parallel()
	client := etcdtest.New(t).Client(t)
	for name, tt := range map[string]struct {
		call func() (*watch.Cache[string], error)
		says string
	}{
		"nil client": {
			func() (*watch.Cache[string], error) { return watch.NewCache(t.Context(), nil, "a/", text) },
			"watch: client is nil",
		},
		"nil decode": {
			func() (*watch.Cache[string], error) { return watch.NewCache[string](t.Context(), client, "a/", nil) },
			"watch: decode function is nil: must be a function",
		},
		"nil option": {
			func() (*watch.Cache[string], error) { return watch.NewCache(t.Context(), client, "a/", text, nil) },
			"watch: option is nil",
		},
		"empty prefix without leave": {
			func() (*watch.Cache[string], error) { return watch.NewCache(t.Context(), client, "", text) },
			"WithKeyspace",
		},
		"ended context": {
			func() (*watch.Cache[string], error) { return watch.NewCache(finished(t), client, "a/", text) },
			context.Canceled.Error(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := tt.call()
			require.ErrorContains(t, err, tt.says)
			require.Nil(t, c)
		})
	}
}
