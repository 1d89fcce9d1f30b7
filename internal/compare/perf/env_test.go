package perf_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// pool is a pool that lives as long as the test.
func pool(t *testing.T) *perf.Pool {
	t.Helper()
	var p perf.Pool
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return &p
}

func env(ctx context.Context, t *testing.T, p *perf.Pool, on perf.Servers) *perf.Env {
	t.Helper()
	e, err := p.Env(ctx, on, false)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func TestServersAreSharedAndWritesCounted(t *testing.T) {
	t.Parallel()
	ctx, p := guarded(t), pool(t)
	for on, members := range map[perf.Servers]int{perf.EtcdFast: 1, perf.EtcdCluster: 3} {
		one, other := env(ctx, t, p, on), env(ctx, t, p, on)
		require.Len(t, one.Endpoints(), members)
		require.Equal(t, one.Endpoints(), other.Endpoints())
		c, err := other.Client(ctx)
		require.NoError(t, err)
		const writes = 7
		var counts []int64
		for range 3 {
			counts = append(counts, counted(ctx, t, one, func() {
				for range writes {
					_, err = etcdtest.Put(ctx, c, "k", "v")
					require.NoError(t, err)
					_, err = c.Get(ctx, "k")
					require.NoError(t, err)
				}
			}))
		}
		require.Contains(t, counts, int64(writes), "seldom does etcd write by itself: its version, after the start")
	}
}

// counted returns how many writes there were during fn.
func counted(ctx context.Context, t *testing.T, e *perf.Env, fn func()) int64 {
	t.Helper()
	before, err := e.Writes(ctx)
	require.NoError(t, err)
	fn()
	after, err := e.Writes(ctx)
	require.NoError(t, err)
	return after - before
}

func TestANetworkIsCutAndMended(t *testing.T) {
	t.Parallel()
	ctx := guarded(t)
	e := env(ctx, t, pool(t), perf.EtcdFast)
	c, cut, mend, err := e.Partitioned(ctx)
	require.NoError(t, err)
	w := c.Watch(ctx, "k", clientv3.WithCreatedNotify())
	<-w
	cut()
	other, err := e.Client(ctx)
	require.NoError(t, err)
	_, err = other.Put(ctx, "k", "v")
	require.NoError(t, err)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = c.Get(short, "k")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Empty(t, w)
	mend()
	require.Len(t, (<-w).Events, 1)
	require.NoError(t, c.Close(), "a work may close it")
}

func TestARedisNodeHangs(t *testing.T) {
	t.Parallel()
	ctx := guarded(t)
	e := env(ctx, t, pool(t), perf.RedisFive)
	clients := e.Redis()
	require.Len(t, clients, 5)
	_, err := e.Hang(ctx, 5)
	require.EqualError(t, err, "perf: node 5: there are 5")
	resume, err := e.Hang(ctx, 2)
	require.NoError(t, err)
	require.NoError(t, clients[1].Ping(ctx).Err())
	answered := make(chan error, 1)
	go func() { answered <- clients[2].Ping(ctx).Err() }()
	select {
	case err := <-answered:
		require.Fail(t, "it answers", "%v", err)
	case <-time.After(50 * time.Millisecond):
	}
	require.NoError(t, resume())
	require.NoError(t, <-answered)
}

func TestAnEnvSaysWhatItIsNotOn(t *testing.T) {
	t.Parallel()
	ctx := guarded(t)
	e := env(ctx, t, pool(t), perf.None)
	_, err := e.Client(ctx)
	require.ErrorContains(t, err, "not on etcd")
	_, _, _, err = e.Partitioned(ctx)
	require.ErrorContains(t, err, "not on etcd")
	_, err = e.Writes(ctx)
	require.ErrorContains(t, err, "not on etcd")
	_, err = e.Hang(ctx, 0)
	require.ErrorContains(t, err, "not on Redis")
	require.Empty(t, e.Redis())
}

func TestDurableServersAreOnADisk(t *testing.T) {
	t.Parallel()
	ctx, p := guarded(t), pool(t)
	e := env(ctx, t, p, perf.EtcdDurable)
	c, err := e.Client(ctx)
	require.NoError(t, err)
	_, err = c.Put(ctx, "k", strings.Repeat("v", 4096))
	require.NoError(t, err)
	dir, err := perf.Dir()
	require.NoError(t, err)
	require.NotEqual(t, "tmpfs", perf.FileSystem(dir))
}
