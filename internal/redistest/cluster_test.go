package redistest_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/internal/suite"
)

const guard = 30 * time.Second

// onBoth runs a test on embedded nodes and on processes.
func onBoth(t *testing.T, test func(t *testing.T, start func(n int, opts ...redistest.Option) *redistest.Cluster)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, func(n int, opts ...redistest.Option) *redistest.Cluster { return redistest.NewEmbedded(t, n, opts...) })
	})
	t.Run("redis-server", func(t *testing.T) {
		t.Parallel()
		test(t, func(n int, opts ...redistest.Option) *redistest.Cluster { return redistest.New(t, n, opts...) })
	})
}

func exists(t *testing.T, n *redistest.Node) bool {
	t.Helper()
	found, err := n.Admin().Exists(t.Context(), "key").Result()
	require.NoError(t, err)
	return found == 1
}

func TestNodesKnowNothingOfEachOther(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, start func(int, ...redistest.Option) *redistest.Cluster) {
		c := start(3)
		require.Equal(t, 3, c.Size())
		require.NoError(t, c.Clients(t)[1].Set(t.Context(), "key", "value", 0).Err())
		require.False(t, exists(t, c.Node(0)))
		require.True(t, exists(t, c.Node(1)))
		require.False(t, exists(t, c.Node(2)))
	})
}

func TestARestartForgetsUnlessAppendOnly(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, start func(int, ...redistest.Option) *redistest.Cluster) {
		for _, keeps := range []bool{false, true} {
			var opts []redistest.Option
			if keeps {
				opts = append(opts, redistest.WithAppendOnly())
			}
			n := start(1, opts...).Node(0)
			addr := n.Addr()
			require.NoError(t, n.Admin().Set(t.Context(), "key", "value", 0).Err())
			n.Restart(t)
			require.Equal(t, addr, n.Addr())
			require.Equal(t, keeps, exists(t, n))
		}
	})
}

func TestAKilledNodeAnswersNothing(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, start func(int, ...redistest.Option) *redistest.Cluster) {
		n := start(1).Node(0)
		require.NoError(t, n.Admin().Set(t.Context(), "key", "value", 0).Err())
		n.Kill(t)
		n.Kill(t) // again
		client := redis.NewClient(&redis.Options{Addr: n.Addr(), DialTimeout: guard, ReadTimeout: guard, MaxRetries: -1})
		defer func() { require.NoError(t, client.Close()) }()
		require.Error(t, client.Get(t.Context(), "key").Err(), "it refuses, or another has got its port")
	})
}

func TestUptimeBeginsWithARestart(t *testing.T) {
	suite.Nightly(t) // a node has to become old
	t.Parallel()
	onBoth(t, func(t *testing.T, start func(int, ...redistest.Option) *redistest.Cluster) {
		const old = 5 // which a busy machine does not let a restarted node become before it is asked
		n := start(1).Node(0)
		uptime := func() int {
			info, err := n.Admin().InfoMap(t.Context(), "server").Result()
			require.NoError(t, err)
			seconds, err := strconv.Atoi(info["Server"]["uptime_in_seconds"])
			require.NoError(t, err)
			return seconds
		}
		require.Eventually(t, func() bool { return uptime() >= old }, guard, 5*time.Millisecond)
		n.Restart(t)
		require.Less(t, uptime(), old)
	})
}

func TestAStoppedNodeAnswersAfterItContinues(t *testing.T) {
	t.Parallel()
	n := redistest.New(t, 1).Node(0)
	n.Stop(t)
	answered := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	defer cancel()
	go func() {
		client := redis.NewClient(&redis.Options{Addr: n.Addr(), ReadTimeout: guard})
		defer func() { _ = client.Close() }()
		answered <- client.Set(ctx, "key", "value", 0).Err()
	}()
	select {
	case err := <-answered:
		require.Fail(t, "a stopped node answers", "%v", err)
	case <-time.After(100 * time.Millisecond): // it would have done so in one
	}
	n.Continue(t)
	require.NoError(t, <-answered)
}

func TestALoadingNodeSaysSo(t *testing.T) {
	t.Parallel()
	c := redistest.NewEmbedded(t, 1)
	client := c.Clients(t, func(o *redis.Options) { o.MaxRetries = -1 })[0]
	c.Node(0).Load(t, true)
	require.ErrorContains(t, client.Ping(t.Context()).Err(), "LOADING")
	c.Node(0).Load(t, false)
	require.NoError(t, client.Ping(t.Context()).Err())
}

func TestKeysOfEmbeddedNodesExpireByTheirClock(t *testing.T) {
	t.Parallel()
	c := redistest.NewEmbedded(t, 1)
	require.NoError(t, c.Node(0).Admin().Set(t.Context(), "key", "value", time.Hour).Err())
	c.Advance(time.Hour - time.Minute)
	require.True(t, exists(t, c.Node(0)))
	c.Advance(time.Minute)
	require.False(t, exists(t, c.Node(0)))
}

func TestANetBreaksOnlyItsOwnClients(t *testing.T) {
	t.Parallel()
	c := redistest.NewEmbedded(t, 1)
	n := c.Net(t)
	client := n.Clients(t, func(o *redis.Options) { o.MaxRetries = -1 })[0]
	require.NoError(t, client.Ping(t.Context()).Err())
	n.To(0).Refuse()
	require.Error(t, client.Ping(t.Context()).Err())
	require.NoError(t, c.Clients(t)[0].Ping(t.Context()).Err())
	n.Heal()
	require.NoError(t, client.Ping(t.Context()).Err())
	require.Equal(t, 3, n.Calls())
}

func TestStartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	redistest.New(t, 0) // skips
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := redistest.Start(ctx, 1)
	require.ErrorIs(t, err, context.Canceled)
}
