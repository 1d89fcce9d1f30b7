package redlock_test

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/redlock"
)

func unconnected(t *testing.T, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestBadNodesAreRefused(t *testing.T) {
	t.Parallel()
	a, b, c := unconnected(t, "127.0.0.1:1"), unconnected(t, "127.0.0.1:2"), unconnected(t, "127.0.0.1:3")
	again := unconnected(t, "127.0.0.1:1")
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:4", "127.0.0.1:3"}})
	defer func() { require.NoError(t, cluster.Close()) }()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"shard": "127.0.0.1:3"}})
	defer func() { require.NoError(t, ring.Close()) }()
	var none *redis.Client
	for want, clients := range map[string][]redis.UniversalClient{
		"no clients":                           {},
		"two clients":                          {a, b},
		"client 2 is client 0 again":           {a, b, a},
		"clients 0 and 2 both use 127.0.0.1:1": {a, b, again},
		"clients 1 and 2 both use 127.0.0.1:3": {a, c, cluster},
		"client 0 is a ring":                   {ring},
		"client 1 is a ring":                   {a, struct{ *redis.Ring }{ring}, b},
		"client 1 is nil":                      {a, nil, b},
		"client 0 is nil":                      {none},
	} {
		_, err := redlock.NewNodes(clients)
		require.ErrorContains(t, err, want)
		require.True(t, strings.HasPrefix(err.Error(), "redlock: "), err)
	}
	for _, clients := range [][]redis.UniversalClient{{a}, {a, b, c}, {a, b, c, unconnected(t, "127.0.0.1:5")}, {cluster}} {
		_, err := redlock.NewNodes(clients)
		require.NoError(t, err)
	}
}

func TestClientsThatAskSentinelsAreNotTakenForOneNode(t *testing.T) {
	t.Parallel()
	var all []redis.UniversalClient
	for _, master := range []string{"a", "b", "c"} {
		c := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: master, SentinelAddrs: []string{"127.0.0.1:1"}})
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		all = append(all, c)
	}
	_, err := redlock.NewNodes(all)
	require.NoError(t, err)
}

func TestBadOptionsAreRefused(t *testing.T) {
	t.Parallel()
	client := []redis.UniversalClient{unconnected(t, "127.0.0.1:1")}
	for _, tc := range []struct {
		want string
		opts []redlock.Option
	}{
		{"TTL 0s: must be whole milliseconds", []redlock.Option{redlock.WithTTL(0)}},
		{"TTL -1s", []redlock.Option{redlock.WithTTL(-time.Second)}},
		{"TTL 1.5ms", []redlock.Option{redlock.WithTTL(1500 * time.Microsecond)}},
		{"TTL 2ms: must exceed the drift allowance of 2.02ms", []redlock.Option{redlock.WithTTL(2 * time.Millisecond)}},
		{"node timeout 0s: must be positive", []redlock.Option{redlock.WithNodeTimeout(0)}},
		{"node timeout 4s: must be at most a third of the TTL 10s", []redlock.Option{redlock.WithNodeTimeout(4 * time.Second)}},
		{"drift -0.1", []redlock.Option{redlock.WithDrift(-0.1)}},
		{"drift 0.5", []redlock.Option{redlock.WithDrift(0.5)}},
		{"drift NaN", []redlock.Option{redlock.WithDrift(math.NaN())}},
		{"minimum uptime 0s: must be positive", []redlock.Option{redlock.WithMinUptime(0)}},
		{"minimum uptime 9s: must be at least the TTL 10s", []redlock.Option{redlock.WithMinUptime(9 * time.Second)}},
		{"logger is nil", []redlock.Option{redlock.WithLogger(nil)}},
		{"option is nil", []redlock.Option{nil}},
	} {
		_, err := redlock.NewNodes(client, tc.opts...)
		require.ErrorContains(t, err, tc.want)
		require.True(t, strings.HasPrefix(err.Error(), "redlock: "), err)
	}
	_, err := redlock.NewNodes(client, redlock.WithTTL(3*time.Millisecond))
	require.NoError(t, err)
}

func TestAMutexMayHaveATTLOfItsOwn(t *testing.T) {
	t.Parallel()
	c := redistest.NewEmbedded(t, 1)
	p := newPeer(t, c)
	h := p.lock(t, name, redlock.WithTTL(2*calm))
	require.Greater(t, h.Remaining(), calm)
	require.Greater(t, pttl(t, c, 0, name), calm)
	unlock(t, h)
	_, err := redlock.NewMutex(p.Nodes, name, redlock.WithTTL(-1))
	require.ErrorContains(t, err, "TTL")
}

func TestTheDriftAllowanceShortensAHold(t *testing.T) {
	t.Parallel()
	p := newPeer(t, redistest.NewEmbedded(t, 1), redlock.WithDrift(0.25))
	h := p.lock(t, name)
	require.LessOrEqual(t, h.Remaining(), calm*3/4-redlock.MinDrift)
	require.Greater(t, h.Remaining(), calm*3/4-guard)
	unlock(t, h)
}

// With the setting that the package recommends, no call outlasts the node timeout.
func TestCallsEndWithTheNodeTimeoutIfTheClientHeedsContexts(t *testing.T) {
	suite.Nightly(t) // a handshake that hangs may last 15 s
	t.Parallel()
	onBoth(t, 3, func(t *testing.T, c *redistest.Cluster) {
		newPeer(t, c).prepare(t, c)
		p := newPeerWith(t, c, func(o *redis.Options) {
			o.ContextTimeoutEnabled = true
			o.ReadTimeout = 10 * guard
		}, redlock.WithNodeTimeout(3*time.Second))
		for i := range 2 {
			p.net.To(i).Blackhole()
		}
		_, err := p.mutex(t, name).TryLock(guarded(t))
		_, ok := errors.AsType[*redlock.QuorumError](err)
		require.True(t, ok, "%v", err)
		p.net.To(0).HalfOpen() // what hung stays so
		p.net.To(1).HalfOpen()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, p.Close(ctx), context.Canceled)
		require.NoError(t, p.Close(guarded(t)), "the removals have been called off, and no call goes on")
	})
}

func TestCloseEndsHoldsAndWaitersAndLeavesNothing(t *testing.T) {
	t.Parallel()
	onSizes(t, func(t *testing.T, c *redistest.Cluster) {
		p := newPeer(t, c)
		h := p.lock(t, name)
		waiting := p.queueUp(guarded(t), t, c, name)
		require.NoError(t, p.Close(guarded(t)))
		lost(t, h)
		require.ErrorIs(t, h.Err(), redlock.ErrClosed)
		require.ErrorIs(t, await(t, waiting, "Lock returns").err, redlock.ErrClosed)
		require.Zero(t, held(t, c, name))
		_, err := p.mutex(t, name).TryLock(guarded(t))
		require.ErrorIs(t, err, redlock.ErrClosed)
		require.NoError(t, p.Close(guarded(t)), "again")
		eventually(t, func() bool { return subscribers(t, c, name) == 0 }, "unsubscribed")
	})
}

func TestCloseWaitsNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	c := redistest.NewEmbedded(t, 1)
	p := newPeer(t, c)
	h := p.lock(t, name)
	p.net.To(0).Blackhole()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, p.Close(ctx), context.Canceled)
	lost(t, h)
	p.net.Heal()
	require.NoError(t, p.Close(guarded(t)))
}

func TestANodeBelowTheMinimumUptimeIsRefused(t *testing.T) {
	t.Parallel()
	onBoth(t, 1, func(t *testing.T, c *redistest.Cluster) {
		c.Node(0).Restart(t)
		p := newPeer(t, c, redlock.WithMinUptime(calm))
		_, err := p.mutex(t, name).TryLock(guarded(t))
		quorum, ok := errors.AsType[*redlock.QuorumError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, redlock.NodeRefused, quorum.Nodes[0].State)
		young, ok := errors.AsType[*redlock.UptimeError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, calm, young.Min)
		require.Less(t, young.Uptime, guard)
		require.ErrorContains(t, err, "less than 10m0s for certain")
		require.Empty(t, value(t, c, 0, name))
	})
}

func TestKeysHaveThePrefix(t *testing.T) {
	t.Parallel()
	c := redistest.NewEmbedded(t, 1)
	h := newPeer(t, c, redlock.WithKeyPrefix("app:")).lock(t, name)
	require.NotEmpty(t, value(t, c, 0, "app:"+name))
	unlock(t, h)
}

// log keeps what is logged.
type log struct {
	mu sync.Mutex
	strings.Builder
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(b)
}

func (l *log) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.String()
}

func TestLossesAreLogged(t *testing.T) {
	t.Parallel()
	var l log
	c := redistest.NewEmbedded(t, 1)
	p := newPeer(t, c, redlock.WithLogger(slog.New(slog.NewTextHandler(&l, nil))))
	h := p.lock(t, name)
	require.NoError(t, c.Node(0).Admin().Del(guarded(t), name).Err())
	require.ErrorIs(t, h.Extend(guarded(t)), redlock.ErrLost)
	require.Contains(t, l.text(), "level=WARN msg=\"redlock: lost\" name=job")
}

func TestStatesHaveNames(t *testing.T) {
	t.Parallel()
	for s, want := range []string{"pending", "granted", "locked", "missing", "refused", "failed", "NodeState(6)"} {
		require.Equal(t, want, redlock.NodeState(s).String())
	}
	require.Equal(t, `redlock: "x" is locked`, (&redlock.LockedError{Name: "x"}).Error())
	require.Equal(t, `redlock: "x" is locked (for 1s, unless extended)`, (&redlock.LockedError{Name: "x", Remaining: time.Second}).Error())
}

// valueClient is a client that cannot be compared with another.
type valueClient struct {
	redis.UniversalClient
	_ []string
}

func TestNewNodesTakesClientsThatCannotBeCompared(t *testing.T) {
	t.Parallel()
	var clients []redis.UniversalClient
	for _, addr := range []string{"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"} {
		client := redis.NewClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { require.NoError(t, client.Close()) })
		clients = append(clients, valueClient{UniversalClient: client})
	}
	nodes, err := redlock.NewNodes(clients)
	require.NoError(t, err)
	require.NoError(t, nodes.Close(t.Context()))
}
