package watch_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/watch"
)

// mirror applies the changes of a cache to a state of its own.
type mirror struct {
	mu    sync.Mutex
	state map[string]string
	done  chan struct{}
}

// newMirror follows c until ctx ends.
func newMirror(ctx context.Context, t *testing.T, c *watch.Cache[string]) *mirror {
	t.Helper()
	m := &mirror{state: make(map[string]string), done: make(chan struct{})}
	go func() {
		defer close(m.done)
		revs := make(map[string]int64)
		for change, err := range c.Changes(ctx) {
			if err != nil {
				return
			}
			if change.Item.ModRevision < revs[change.Key] {
				t.Errorf("%s went back from %d to %d", change.Key, revs[change.Key], change.Item.ModRevision)
			}
			revs[change.Key] = change.Item.ModRevision
			m.apply(change)
		}
	}()
	return m
}

func (m *mirror) apply(change watch.Change[string]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if change.Deleted {
		delete(m.state, change.Key)
	} else {
		m.state[change.Key] = fmt.Sprintf("%s@%d", change.Item.Value, change.Item.ModRevision)
	}
}

// awaits waits until the mirror has what the cache has.
func (m *mirror) awaits(t *testing.T, c *watch.Cache[string]) {
	t.Helper()
	require.Eventually(t, func() bool {
		want := stateOf(c.Snapshot()) // which goes on: a write that was given up may come late
		m.mu.Lock()
		defer m.mu.Unlock()
		return fmt.Sprint(want) == fmt.Sprint(m.state)
	}, guard, time.Millisecond)
}

func TestCacheSurvivesACompactionWhileDisconnected(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.WithControl())
	writer, book := cluster.Client(t), &logBook{}
	client, net := cluster.ProxiedClient(t, etcdtest.WithFastReconnect())
	const prefix = "k/"
	fill(t, writer, prefix, 100, "before")
	c := newTextCache(t, client, prefix, watch.WithLogger(book.logger()))
	ctx, cancel := context.WithCancel(t.Context())
	m := newMirror(ctx, t, c)
	snapshot := c.Snapshot()
	before := stateOf(snapshot)
	net.Refuse()
	for i := range 30 {
		remove(t, writer, fmt.Sprintf("%s%06d", prefix, i))
		put(t, writer, fmt.Sprintf("%s%06d", prefix, 20+2*i), "during")
		put(t, writer, fmt.Sprintf("%snew-%d", prefix, i), "during")
	}
	put(t, writer, prefix+"000005", "made anew")
	require.NoError(t, cluster.Compact(guarded(t)))
	require.NoError(t, c.Err(), "an interruption is no error")
	net.Heal()
	agrees(t, c, writer, prefix)
	m.awaits(t, c)
	sameState(t, before, stateOf(snapshot))
	require.Contains(t, book.String(), "compacted")
	agrees(t, c, writer, prefix)
	cancel()
	<-m.done
}

func TestLoadBeginsAgainWhenCompactionOvertakesIt(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.WithControl())
	writer, rec := cluster.Client(t), &etcdtest.Recorder{}
	client := cluster.Client(t, etcdtest.WithRecorder(rec))
	const prefix = "k/"
	fill(t, writer, prefix, 3000, "before")
	compactions := 0
	rec.Hook("Range", func(ctx context.Context, req any, invoke func() error) error {
		if r, ok := req.(*pb.RangeRequest); ok && r.Revision > 0 && compactions < 2 {
			compactions++
			put(t, writer, prefix+"zzz", strconv.Itoa(compactions))
			remove(t, writer, fmt.Sprintf("%s%06d", prefix, compactions)) // on a page that was read
			require.NoError(t, cluster.Compact(ctx))
		}
		return invoke()
	})
	c := newTextCache(t, client, prefix)
	require.Equal(t, 2, compactions)
	agrees(t, c, writer, prefix)
	require.Equal(t, 3000-2+1, c.Snapshot().Len())
}

// TestCachesAgreeThroughFaults lets writers, compactions, member restarts and broken
// connections work against caches and their consumers, then compares with the store.
func TestCachesAgreeThroughFaults(t *testing.T) {
	t.Parallel()
	const prefix = "k/"
	cluster := etcdtest.New(t, etcdtest.WithMembers(3))
	var (
		caches  []*watch.Cache[string]
		mirrors []*mirror
		nets    []*etcdtest.Net
	)
	follow, stop := context.WithCancel(t.Context())
	for range 3 {
		client, net := cluster.ProxiedClient(t, etcdtest.WithFastReconnect())
		c := newTextCache(t, client, prefix, watch.WithStall(2*time.Second))
		c.CutHistoryAt(50)
		caches, nets, mirrors = append(caches, c), append(nets, net), append(mirrors, newMirror(follow, t, c))
	}
	writing, endWriting := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 2 {
		client := cluster.Client(t, etcdtest.WithFastReconnect())
		writers.Go(func() {
			for i := 0; writing.Err() == nil; i++ {
				value := fmt.Sprintf("%d-%d", w, i)
				ops := []clientv3.Op{clientv3.OpPut(fmt.Sprintf("%s%d", prefix, rand.IntN(100)), value)}
				if i%3 == 0 {
					ops = append(ops, clientv3.OpDelete(fmt.Sprintf("%sx%d", prefix, rand.IntN(100))))
				} else {
					ops = append(ops, clientv3.OpPut(fmt.Sprintf("%sx%d", prefix, rand.IntN(100)), value))
				}
				short, cancel := context.WithTimeout(writing, time.Second)
				_, _ = client.Txn(short).Then(ops...).Commit() // the store is the truth, not what was tried
				cancel()
			}
		})
	}
	for round := range suite.Long(6, 9) {
		i := round % 3
		nets[i].Reset()
		require.NoError(t, cluster.Kill(i))
		nets[(i+1)%3].Refuse()
		compactNow(t, cluster)
		require.NoError(t, cluster.Restart(guarded(t), i))
		_, err := cluster.WaitLeader(guarded(t))
		require.NoError(t, err)
		compactNow(t, cluster)
		nets[(i+1)%3].Heal()
		nets[(i+2)%3].CutMember(i) // silently
	}
	for _, net := range nets {
		net.Heal()
	}
	endWriting()
	writers.Wait()
	for i, c := range caches {
		agrees(t, c, cluster.Client(t), prefix)
		mirrors[i].awaits(t, c)
		require.NoError(t, c.Err())
		require.LessOrEqual(t, c.HistoryLen(), 1000)
	}
	stop()
	for _, m := range mirrors {
		<-m.done
	}
}

// compactNow compacts unless it is just so far.
func compactNow(t *testing.T, cluster *etcdtest.Cluster) {
	t.Helper()
	if err := cluster.Compact(guarded(t)); !errors.Is(err, rpctypes.ErrCompacted) {
		require.NoError(t, err)
	}
}

func TestCacheSurvivesAMemberThatVanishes(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.WithMembers(3))
	writer := cluster.Client(t)
	client, net := cluster.ProxiedClient(t, etcdtest.WithFastReconnect())
	const prefix = "k/"
	c := newTextCache(t, client, prefix, watch.WithStall(watch.MinStall))
	for i := range 3 {
		net.CutMember(i) // the third time at the latest it is the one in use
		require.NoError(t, c.WaitRevision(guarded(t), put(t, writer, prefix+strconv.Itoa(i), "1")))
		net.Heal()
	}
	agrees(t, c, writer, prefix)
}

func TestCacheStopsWithItsClient(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t)
	client, err := cluster.NewClient()
	require.NoError(t, err)
	c := newTextCache(t, client, cluster.Prefix(t), watch.WithStall(watch.MinStall))
	rev, _ := c.Freshness()
	require.NoError(t, client.Close())
	err = c.WaitRevision(guarded(t), rev+1_000_000)
	require.Error(t, err)
	require.NotErrorIs(t, err, context.DeadlineExceeded, "it notices by itself")
	require.Equal(t, err, c.Err())
	for _, last := range c.Changes(guarded(t)) {
		require.Equal(t, err, last)
	}
	require.NotErrorIs(t, err, watch.ErrClosed, "the cache was not closed")
	require.ErrorContains(t, err, "client was closed")
	_, err = watch.NewCache(guarded(t), client, "prefix", text)
	require.ErrorContains(t, err, "watch: ")
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}

func TestLoadWithoutPermissionFails(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.WithControl())
	ctx := guarded(t)
	require.NoError(t, cluster.AddUser(ctx, "reader", "secret", "mine/"))
	require.NoError(t, cluster.EnableAuth(ctx))
	client := cluster.Client(t, etcdtest.WithUser("reader", "secret"))
	_, err := watch.NewCache(ctx, client, "theirs/", text)
	require.ErrorIs(t, err, rpctypes.ErrPermissionDenied)
	require.ErrorContains(t, err, `watch: loading the cache of "theirs/"`)
	c := newTextCache(t, client, "mine/")
	require.NoError(t, c.WaitRevision(ctx, put(t, client, "mine/a", "1")))
	_, ok := c.Get("mine/a")
	require.True(t, ok)
}

func TestCloseDuringAPartitionReturnsAtOnce(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t)
	client, net := cluster.ProxiedClient(t)
	c, err := watch.NewCache(guarded(t), client, cluster.Prefix(t), text)
	require.NoError(t, err)
	net.Cut()
	closed := make(chan error, 1)
	go func() { closed <- c.Close(guarded(t)) }()
	select {
	case err := <-closed:
		require.NoError(t, err)
	case <-time.After(guard):
		require.FailNow(t, "Close hangs")
	}
}

func TestReconcileConvergesThroughFaults(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.WithControl())
	writer := cluster.Client(t)
	client, net := cluster.ProxiedClient(t, etcdtest.WithFastReconnect())
	const prefix = "k/"
	c := newTextCache(t, client, prefix)
	var mu sync.Mutex
	made := make(map[string]string) // what the controller has made of the keys
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- watch.Reconcile(ctx, c, func(_ context.Context, key string) error {
			if rand.IntN(4) == 0 {
				return fmt.Errorf("no luck with %q", key)
			}
			item, ok := c.Get(key)
			mu.Lock()
			defer mu.Unlock()
			if !ok {
				delete(made, key)
			} else {
				made[key] = fmt.Sprintf("%s@%d", item.Value, item.ModRevision)
			}
			return nil
		}, watch.WithWorkers(4), watch.WithBackoff(time.Millisecond, 10*time.Millisecond))
	}()
	for i := range 300 {
		switch i % 60 {
		case 10:
			net.Refuse()
		case 40:
			require.NoError(t, cluster.Compact(guarded(t)))
			net.Heal()
		}
		key := fmt.Sprintf("%s%d", prefix, i*7%31)
		if i%4 == 3 {
			remove(t, writer, key)
		} else {
			put(t, writer, key, strconv.Itoa(i))
		}
	}
	net.Heal()
	agrees(t, c, writer, prefix)
	want := fmt.Sprint(stateOf(c.Snapshot()))
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return fmt.Sprint(made) == want
	}, guard, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}
