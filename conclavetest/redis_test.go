package conclavetest_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/conclavetest"
	"github.com/conclave-go/conclave/redlock"
)

// onBothRedis runs a test on three nodes in real and three in virtual time.
func onBothRedis(t *testing.T, test func(t *testing.T, r *conclavetest.Redis)) {
	t.Helper()
	t.Parallel()
	t.Run("real", func(t *testing.T) {
		t.Parallel()
		test(t, conclavetest.NewRedis(t, 3))
	})
	t.Run("virtual", func(t *testing.T) {
		t.Parallel()
		conclavetest.VirtualRedis(t, 3, test)
	})
}

// newNodes returns nodes on a network, closed at the test's end once it is healed.
func newNodes(t *testing.T, n *conclavetest.RedisNetwork, opts ...redlock.Option) *redlock.Nodes {
	t.Helper()
	nodes, err := redlock.NewNodes(n.Clients(t), opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		n.Heal()
		ctx, cancel := context.WithTimeout(context.Background(), guard)
		defer cancel()
		require.NoError(t, nodes.Close(ctx))
	})
	return nodes
}

func newRedlock(t *testing.T, nodes *redlock.Nodes) *redlock.Mutex {
	t.Helper()
	m, err := redlock.NewMutex(nodes, "job")
	require.NoError(t, err)
	return m
}

// redlockSoon calls Lock in the background, for as long as the test.
func redlockSoon(t *testing.T, nodes *redlock.Nodes) <-chan *redlock.Hold {
	t.Helper()
	m := newRedlock(t, nodes)
	ctx, cancel := context.WithCancel(t.Context())
	holds, done := make(chan *redlock.Hold, 1), make(chan struct{})
	go func() {
		defer close(done)
		if h, err := m.Lock(ctx); err == nil {
			holds <- h
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return holds
}

// requireHung requires that a node does not answer the client.
func requireHung(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // an answer takes one
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- client.Ping(ctx).Err() }() // which does not mind ctx
	select {
	case err := <-done:
		require.Error(t, err)
	case <-ctx.Done():
	}
}

func requireAnswer(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	require.NoError(t, client.Ping(guarded(t)).Err())
}

func TestARestartedNodeHasForgottenItsKeys(t *testing.T) {
	onBothRedis(t, func(t *testing.T, r *conclavetest.Redis) {
		clients := r.Network(t).Clients(t)
		for _, c := range clients {
			require.NoError(t, c.Set(guarded(t), "key", "value", 0).Err())
		}
		r.Restart(t, 1)
		for i, c := range clients {
			n, err := c.Exists(guarded(t), "key").Result()
			require.NoError(t, err)
			require.Equal(t, i != 1, n == 1, "node %d", i)
		}
	})
}

func TestAHungNodeAnswersNobodyUntilItResumes(t *testing.T) {
	onBothRedis(t, func(t *testing.T, r *conclavetest.Redis) {
		n := r.Network(t)
		before := n.Clients(t)
		requireAnswer(t, before[1])
		r.Hang(t, 1)
		after := r.Network(t).Clients(t)
		for _, clients := range [][]redis.UniversalClient{before, after} {
			requireHung(t, clients[1])
			requireAnswer(t, clients[0])
			requireAnswer(t, clients[2])
		}
		n.Heal()
		requireHung(t, n.Clients(t)[1])
		r.Resume(t, 1)
		requireAnswer(t, before[1])
		requireAnswer(t, after[1])
	})
}

func TestACutConcernsOneNetworkOnly(t *testing.T) {
	onBothRedis(t, func(t *testing.T, r *conclavetest.Redis) {
		n := r.Network(t)
		clients, others := n.Clients(t), r.Network(t).Clients(t)
		n.CutNode(t, 2)
		requireAnswer(t, clients[1])
		requireHung(t, clients[2])
		n.Cut()
		for i := range 3 {
			requireHung(t, clients[i])
			requireAnswer(t, others[i])
		}
		n.Heal()
		for i := range 3 {
			requireAnswer(t, clients[i])
		}
	})
}

func TestAnAdvancedClockExpiresKeysOfOneNode(t *testing.T) {
	onBothRedis(t, func(t *testing.T, r *conclavetest.Redis) {
		clients := r.Network(t).Clients(t)
		for _, c := range clients {
			require.NoError(t, c.Set(guarded(t), "key", "value", time.Hour).Err())
		}
		r.AdvanceClock(t, 0, time.Hour)
		for i, c := range clients {
			n, err := c.Exists(guarded(t), "key").Result()
			require.NoError(t, err)
			require.Equal(t, i != 0, n == 1, "node %d", i)
		}
	})
}

func TestProcessesThatWaitAreCounted(t *testing.T) {
	onBothRedis(t, func(t *testing.T, r *conclavetest.Redis) {
		patient := redlock.WithNodeTimeout(redlock.DefaultTTL / 3)
		h, err := newRedlock(t, newNodes(t, r.Network(t), patient)).Lock(guarded(t))
		require.NoError(t, err)
		one := newNodes(t, r.Network(t), patient)
		redlockSoon(t, one)
		redlockSoon(t, one)
		redlockSoon(t, newNodes(t, r.Network(t), patient))
		r.AwaitWaiters(t, "job", 2)
		require.NoError(t, h.Unlock(guarded(t)))
	})
}

func TestAwaitWaitersOfRedisFailsWithTheirNumber(t *testing.T) {
	t.Parallel()
	conclavetest.VirtualRedis(t, 3, func(t *testing.T, r *conclavetest.Redis) {
		require.Contains(t, failure(t, func(tb testing.TB) { r.AwaitWaiters(tb, "job", 1) }), "there are 0")
	})
}

// In virtual time it can be seen that a waiter asks at once: no time passes.
func TestWakeMakesAWaiterAskNow(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "{app}:"} {
		conclavetest.VirtualRedis(t, 3, func(t *testing.T, r *conclavetest.Redis) {
			opts := []redlock.Option{redlock.WithKeyPrefix(prefix), redlock.WithTTL(time.Hour)}
			_, err := newRedlock(t, newNodes(t, r.Network(t), opts...)).Lock(guarded(t))
			require.NoError(t, err)
			holds := redlockSoon(t, newNodes(t, r.Network(t), opts...))
			r.AwaitWaiters(t, prefix+"job", 1)
			conclavetest.Advance(0)
			for i := range 3 {
				r.AdvanceClock(t, i, time.Hour) // the first hold is over for the nodes
			}
			conclavetest.Advance(0)
			require.Empty(t, holds)
			r.Wake(t, prefix+"job")
			conclavetest.Advance(0)
			require.Len(t, holds, 1)
		})
	}
}

func TestNodesThatDoNotExistFailTheTest(t *testing.T) {
	onBothRedis(t, func(t *testing.T, r *conclavetest.Redis) {
		n := r.Network(t)
		for _, use := range []func(tb testing.TB, i int){
			r.Restart, r.Hang, r.Resume, n.CutNode,
			func(tb testing.TB, i int) { tb.Helper(); r.AdvanceClock(tb, i, time.Second) },
		} {
			require.Contains(t, failure(t, func(tb testing.TB) { use(tb, 3) }), "node 3: must be 0 to 2")
			require.Contains(t, failure(t, func(tb testing.TB) { use(tb, -1) }), "node -1: must be 0 to 2")
		}
		require.Contains(t, failure(t, func(tb testing.TB) { r.AdvanceClock(tb, 0, -1) }), "must be 0 or more")
	})
}

func TestStartRedisIsForPrograms(t *testing.T) {
	t.Parallel()
	_, err := conclavetest.StartRedis(0)
	require.ErrorContains(t, err, "0 nodes: must be 1 or more")
	r, err := conclavetest.StartRedis(2)
	require.NoError(t, err)
	require.Len(t, r.Addresses(), 2)
	client := redis.NewClient(&redis.Options{Addr: r.Addresses()[1]})
	requireAnswer(t, client)
	require.NoError(t, client.Close())
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
}

func TestOptionsOfAClientCanBeChanged(t *testing.T) {
	onBothRedis(t, func(t *testing.T, r *conclavetest.Redis) {
		n := r.Network(t)
		o := n.Options()[0]
		o.ClientName = "mine"
		client := redis.NewClient(o)
		defer func() { require.NoError(t, client.Close()) }()
		requireAnswer(t, client)
		require.Empty(t, n.Options()[0].ClientName)
	})
}
