package compare_test

import (
	"context"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/netfault"
)

const (
	// guard is how long a test waits for what must happen; only a failure takes that long.
	guard = 5 * time.Minute
	poll  = 5 * time.Millisecond
	// longExpiry is for locks whose end is not the matter. Lock with a node
	// that hangs takes 5 s.
	longExpiry = 30 * time.Second
	key        = "job"
)

// redsync asks all nodes at once and then waits for every answer, also when it
// has those of a majority. How long a silent node takes is up to its client:
// go-redis by default ignores the deadline of the context, waits for a reply
// for its ReadTimeout (5 s), and tries again.

func TestRedsyncExtendLosesTheLockWhileAMajorityHasRenewedIt(t *testing.T) {
	t.Parallel()
	// Any expiry under the 10 s that Extend takes will do.
	const expiry, age = 6 * time.Second, time.Second
	c := startNodes(t)
	mutex := c.redsync().NewMutex(key, redsync.WithExpiry(expiry))
	require.NoError(t, mutex.Lock())
	other := c.redsyncElsewhere(t).NewMutex(key, redsync.WithExpiry(expiry))
	require.Error(t, other.TryLock(), "the lock excludes others")

	c.pass(age) // so that a renewal shows
	c.nodes[0].proxy.Blackhole()
	type result struct {
		ok  bool
		err error
	}
	extended := make(chan result, 1)
	go func() {
		ok, err := mutex.Extend()
		extended <- result{ok, err}
	}()

	require.Eventually(t, func() bool {
		return c.nodes[1].redis.TTL(key) == expiry && c.nodes[2].redis.TTL(key) == expiry
	}, guard, poll, "two of three nodes have renewed the lock")
	renewedLockEnds := time.NewTimer(expiry)
	defer renewedLockEnds.Stop()
	select {
	case r := <-extended:
		require.Failf(t, "Extend returned while the lock it renewed was valid", "%t, %v", r.ok, r.err)
	case <-renewedLockEnds.C:
	}

	c.pass(expiry)
	require.NoError(t, other.TryLock(), "someone else has the lock")
	select {
	case r := <-extended:
		require.Failf(t, "Extend returned before someone else had the lock", "%t, %v", r.ok, r.err)
	default:
	}

	r := receive(t, extended)
	require.False(t, r.ok)
	require.ErrorIs(t, r.err, redsync.ErrExtendFailed)
}

func TestRedsyncLockWhoseContextIsCancelledLeavesItsKeyOnAHealthyNode(t *testing.T) {
	t.Parallel()
	// Two calls that differ in the cancel alone. Of the three nodes the first
	// hangs and the second has voted for another contender, so both must fail.
	const cancelled, uncancelled = "cancelled", "uncancelled"
	c := startNodes(t)
	for _, key := range []string{cancelled, uncancelled} {
		require.NoError(t, c.nodes[1].redis.Set(key, "another contender"))
	}
	c.nodes[0].proxy.Blackhole()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	keyEnds := time.NewTimer(longExpiry) // or a little later
	defer keyEnds.Stop()
	lock := func(ctx context.Context, key string) <-chan error {
		mutex := c.redsync().NewMutex(key, redsync.WithExpiry(longExpiry))
		locked := make(chan error, 1)
		go func() { locked <- mutex.TryLockContext(ctx) }()
		require.Eventually(t, func() bool { return c.nodes[2].redis.Exists(key) }, guard, poll)
		return locked
	}

	failing := lock(t.Context(), uncancelled)
	abandoned := lock(ctx, cancelled)
	cancel()
	require.Error(t, receive(t, abandoned))
	require.Eventually(t, func() bool { return !c.nodes[2].redis.Exists(uncancelled) }, guard, poll,
		"the failed lock removes its key")
	// The cancelled one tried that with the cancelled context, so it did not.
	require.True(t, c.nodes[2].redis.Exists(cancelled), "nobody holds the lock that this key stands for")
	select {
	case <-keyEnds.C:
		require.Fail(t, "the key would have expired by now")
	default:
	}

	c.nodes[0].proxy.Heal() // the failed lock is still waiting for it
	require.Error(t, receive(t, failing))
}

func TestRedsyncLockSucceedsAfterItsContextWasCancelled(t *testing.T) {
	t.Parallel()
	c := startNodes(t)
	c.nodes[0].proxy.Blackhole()
	mutex := c.redsync().NewMutex(key, redsync.WithExpiry(longExpiry))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	locked := make(chan error, 1)
	go func() { locked <- mutex.LockContext(ctx) }()

	require.Eventually(t, func() bool {
		return c.nodes[1].redis.Exists(key) && c.nodes[2].redis.Exists(key)
	}, guard, poll, "two of three nodes have granted the lock")
	select {
	case err := <-locked:
		require.Failf(t, "Lock returned before its context was cancelled", "%v", err)
	default:
	}
	cancel()
	require.NoError(t, receive(t, locked))
}

// node is a Redis server and the proxy between it and the client under test.
type node struct {
	redis *miniredis.Miniredis
	proxy *netfault.Proxy
}

// cluster is three independent nodes, as redsync wants them, and a client of
// each that goes through the proxy.
type cluster struct {
	nodes   []node
	clients []*redis.Client
}

func startNodes(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{}
	for range 3 {
		server := miniredis.RunT(t)
		proxy, err := netfault.Start(server.Addr())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, proxy.Close()) })
		c.nodes = append(c.nodes, node{server, proxy})
		client := connect(t, proxy.Addr())
		require.NoError(t, client.Ping(t.Context()).Err(), "connected before anything hangs")
		c.clients = append(c.clients, client)
	}
	return c
}

// connect returns a client with the default settings.
func connect(t *testing.T, addr string) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// redsync is the client under test.
func (c *cluster) redsync() *redsync.Redsync { return newRedsync(c.clients) }

// redsyncElsewhere is a client whose network is in order.
func (c *cluster) redsyncElsewhere(t *testing.T) *redsync.Redsync {
	t.Helper()
	var clients []*redis.Client
	for _, n := range c.nodes {
		clients = append(clients, connect(t, n.redis.Addr()))
	}
	return newRedsync(clients)
}

func newRedsync(clients []*redis.Client) *redsync.Redsync {
	var pools []redsyncredis.Pool
	for _, client := range clients {
		pools = append(pools, goredis.NewPool(client))
	}
	return redsync.New(pools...)
}

// pass lets d pass on every node. Keys in miniredis do not age by themselves.
func (c *cluster) pass(d time.Duration) {
	for _, n := range c.nodes {
		n.redis.FastForward(d)
	}
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	timeout := time.NewTimer(guard)
	defer timeout.Stop()
	select {
	case v := <-ch:
		return v
	case <-timeout.C:
		require.Fail(t, "nothing came")
		panic("unreachable")
	}
}
