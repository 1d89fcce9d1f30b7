package compare_test

import (
	"context"
	"testing"
	"time"

	"github.com/bsm/redislock"
	"github.com/go-redsync/redsync/v4"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

// redislock keeps a lock on one server and asks for one that is taken at intervals. It
// leaves timeouts to its client, and renewal to its caller.

func TestRedislockObtainSucceedsAfterItsContextWasCancelled(t *testing.T) {
	t.Parallel()
	node := startNodes(t).nodes[0]
	client := redislock.New(connect(t, node.proxy.Addr()))
	first, err := client.Obtain(t.Context(), key, longExpiry, nil) // connected, and the script known
	require.NoError(t, err)
	require.NoError(t, first.Release(t.Context()))
	node.proxy.BlackholeToClient()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	obtained := make(chan error, 1)
	go func() {
		_, err := client.Obtain(ctx, key, longExpiry, nil)
		obtained <- err
	}()

	require.Eventually(t, func() bool { return node.redis.Exists(key) }, guard, poll, "the node has granted the lock")
	cancel()
	select {
	case err := <-obtained:
		require.Failf(t, "Obtain returned", "%v", err)
	default:
	}
	node.proxy.Heal()
	require.NoError(t, receive(t, obtained))
}

func TestRedislockGivesUpAfterTheExpiryWhenItsContextHasNoDeadline(t *testing.T) {
	t.Parallel()
	node := startNodes(t).nodes[0]
	require.NoError(t, node.redis.Set(key, "another contender"))
	client := redislock.New(connect(t, node.redis.Addr()))
	_, err := client.Obtain(t.Context(), key, 100*time.Millisecond,
		&redislock.Options{RetryStrategy: redislock.LinearBackoff(poll)})
	require.ErrorIs(t, err, context.DeadlineExceeded) // and ErrNotObtained, unless it comes during a call
	require.NoError(t, t.Context().Err())
}

func TestRedsyncAndRedislockLocksExpireInTheHandsOfTheirHolders(t *testing.T) {
	t.Parallel()
	const expiry = 6 * time.Second // in which a busy machine renews
	c := redistest.New(t, 1)
	clients := c.Clients(t)
	nodes, err := redlock.NewNodes(clients, redlock.WithTTL(expiry))
	require.NoError(t, err)
	defer func() { require.NoError(t, nodes.Close(context.WithoutCancel(t.Context()))) }()
	m, err := redlock.NewMutex(nodes, "ours")
	require.NoError(t, err)
	ours, err := m.Lock(t.Context())
	require.NoError(t, err)
	deadline := ours.Deadline()

	client, isClient := clients[0].(*redis.Client)
	require.True(t, isClient)
	redsyncs := newRedsync([]*redis.Client{client}).NewMutex("redsync's", redsync.WithExpiry(expiry))
	require.NoError(t, redsyncs.Lock())
	redislocks, err := redislock.New(client).Obtain(t.Context(), "redislock's", expiry, nil)
	require.NoError(t, err)

	require.Eventually(t, func() bool {
		n, err := client.Exists(t.Context(), "redsync's", "redislock's").Result()
		return err == nil && n == 0
	}, guard, poll, "nobody has renewed these")
	require.Eventually(t, func() bool { return ours.Deadline().After(deadline.Add(expiry)) }, guard, poll, "this was renewed")
	require.NoError(t, ours.Err())
	require.NoError(t, ours.Unlock(t.Context()))
	_, err = redsyncs.Unlock()
	require.Error(t, err)
	require.ErrorIs(t, redislocks.Release(t.Context()), redislock.ErrLockNotHeld)
}
