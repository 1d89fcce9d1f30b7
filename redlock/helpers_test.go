package redlock_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/redlock"
)

const (
	// guard is how long a test waits for what must happen; only a failure takes that
	// long.
	guard = time.Minute
	// poll is how often a test looks for what it is not told about.
	poll = 5 * time.Millisecond
	// calm is a TTL with which no renewal falls into a test.
	calm = 10 * time.Minute
	// patient is a node timeout that a busy machine does not reach.
	patient = 30 * time.Second
	name    = "job"
)

// guarded is the test's context with a limit.
func guarded(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), guard)
	tb.Cleanup(cancel)
	return ctx
}

func await[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(guard):
		require.FailNow(t, "never happened", what)
		panic("unreachable")
	}
}

func eventually(t *testing.T, ok func() bool, msg string, args ...any) {
	t.Helper()
	require.Eventuallyf(t, ok, guard, poll, msg, args...)
}

// sizes are the numbers of nodes that most tests run on: the smallest majority will do for a short run.
func sizes() []int {
	if testing.Short() {
		return []int{3}
	}
	return suite.Long([]int{1, 3}, []int{1, 3, 5})
}

// onBoth runs a test on processes where there is the binary, and on embedded nodes where there is none,
// in the short run, or in the long run, which has both.
func onBoth(t *testing.T, n int, test func(t *testing.T, c *redistest.Cluster), opts ...redistest.Option) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil || testing.Short() || suite.Long(false, true) {
		onEmbedded(t, n, test, opts...)
	}
	if testing.Short() {
		return
	}
	onProcesses(t, n, test, opts...)
}

func onEmbedded(t *testing.T, n int, test func(t *testing.T, c *redistest.Cluster), opts ...redistest.Option) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, redistest.NewEmbedded(t, n, opts...))
	})
}

func onProcesses(t *testing.T, n int, test func(t *testing.T, c *redistest.Cluster), opts ...redistest.Option) {
	t.Helper()
	t.Run("redis-server", func(t *testing.T) {
		t.Parallel()
		test(t, redistest.New(t, n, opts...))
	})
}

// peer is what one process has: clients with a network of their own, and nodes.
type peer struct {
	*redlock.Nodes
	net     *redistest.Net
	clients []redis.UniversalClient
}

// newPeer returns a peer that is not in a hurry, unless opts say so.
func newPeer(t *testing.T, c *redistest.Cluster, opts ...redlock.Option) *peer {
	t.Helper()
	return newPeerWith(t, c, nil, opts...)
}

func newPeerWith(t *testing.T, c *redistest.Cluster, edit func(*redis.Options), opts ...redlock.Option) *peer {
	t.Helper()
	p := &peer{net: c.Net(t)}
	if edit == nil {
		edit = func(*redis.Options) {}
	}
	p.clients = p.net.Clients(t, edit)
	for _, client := range p.clients { // connected before anything breaks
		require.Eventually(t, func() bool { return client.Ping(guarded(t)).Err() == nil }, guard, time.Millisecond)
	}
	var err error
	p.Nodes, err = redlock.NewNodes(p.clients, append([]redlock.Option{
		redlock.WithTTL(calm), redlock.WithNodeTimeout(patient),
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() {
		p.net.Heal()
		// A node that the test has killed keeps its removals going.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = p.Close(ctx)
	})
	return p
}

func (p *peer) mutex(t *testing.T, name string, opts ...redlock.MutexOption) *redlock.Mutex {
	t.Helper()
	m, err := redlock.NewMutex(p.Nodes, name, opts...)
	require.NoError(t, err)
	return m
}

// lock locks name, which is free or soon will be.
func (p *peer) lock(t *testing.T, name string, opts ...redlock.MutexOption) *redlock.Hold {
	t.Helper()
	h, err := p.mutex(t, name, opts...).Lock(guarded(t))
	require.NoError(t, err)
	return h
}

// prepare lets all nodes learn the scripts: the first request with one does not run it.
// When it returns, each client has a connection at rest, so that the next call needs no
// handshake, which a fault in one direction would hold up.
func (p *peer) prepare(t *testing.T, c *redistest.Cluster) *peer {
	t.Helper()
	h := p.lock(t, "prepare")
	awaitHeld(t, c, "prepare", c.Size())
	require.NoError(t, h.Extend(guarded(t)))
	unlock(t, h)
	awaitHeld(t, c, "prepare", 0)
	p.awaitRest(t)
	return p
}

// awaitRest waits until no call is under way.
func (p *peer) awaitRest(t *testing.T) {
	t.Helper()
	for _, client := range p.clients {
		eventually(t, func() bool {
			s := client.PoolStats()
			return s.IdleConns > 0 && s.IdleConns == s.TotalConns
		}, "its calls are over")
	}
}

// outcome is what Lock returned.
type outcome struct {
	hold *redlock.Hold
	err  error
}

// lockSoon calls Lock in the background.
func (p *peer) lockSoon(ctx context.Context, t *testing.T, name string) <-chan outcome {
	t.Helper()
	m := p.mutex(t, name)
	done := make(chan outcome, 1)
	go func() {
		h, err := m.Lock(ctx)
		done <- outcome{h, err}
	}()
	return done
}

// queueUp calls Lock in the background for a lock that is taken and returns once it
// will be told of the release by all nodes.
func (p *peer) queueUp(ctx context.Context, t *testing.T, c *redistest.Cluster, name string) <-chan outcome {
	t.Helper()
	before := subscribers(t, c, name)
	done := p.lockSoon(ctx, t, name)
	eventually(t, func() bool { return subscribers(t, c, name) == before+c.Size() }, "subscribed")
	return done
}

// subscribers is how many subscriptions to releases there are on all nodes.
func subscribers(t *testing.T, c *redistest.Cluster, name string) int {
	t.Helper()
	channel := name + ":released"
	total := 0
	for _, n := range c.Nodes() {
		counts, err := n.Admin().PubSubNumSub(guarded(t), channel).Result()
		require.NoError(t, err)
		total += int(counts[channel])
	}
	return total
}

func granted(t *testing.T, done <-chan outcome) *redlock.Hold {
	t.Helper()
	o := await(t, done, "Lock returns")
	require.NoError(t, o.err)
	require.NoError(t, o.hold.Err())
	return o.hold
}

func stillWaits(t *testing.T, done <-chan outcome) {
	t.Helper()
	select {
	case o := <-done:
		require.FailNow(t, "Lock has returned", "%v", o.err)
	default:
	}
}

func unlock(t *testing.T, h *redlock.Hold) {
	t.Helper()
	require.NoError(t, h.Unlock(guarded(t)))
}

// lost requires that the hold is lost, or soon will be.
func lost(t *testing.T, h *redlock.Hold) {
	t.Helper()
	await(t, h.Context().Done(), "the hold ends")
	require.ErrorIs(t, h.Err(), redlock.ErrLost)
	require.ErrorIs(t, context.Cause(h.Context()), redlock.ErrLost)
	require.NotErrorIs(t, h.Err(), redlock.ErrReleased)
	require.LessOrEqual(t, h.Remaining(), time.Duration(0))
	require.False(t, h.Deadline().After(time.Now()))
}

// value is a key's on node i, empty if there is none.
func value(t *testing.T, c *redistest.Cluster, i int, key string) string {
	t.Helper()
	v, err := c.Node(i).Admin().Get(guarded(t), key).Result()
	if err != nil {
		require.ErrorIs(t, err, redis.Nil)
	}
	return v
}

// held is the number of nodes on which the same acquisition has the lock's key.
func held(t *testing.T, c *redistest.Cluster, name string) (most int) {
	t.Helper()
	nodes := make(map[string]int)
	for i := range c.Size() {
		if v := value(t, c, i, name); v != "" {
			nodes[v]++
			most = max(most, nodes[v])
		}
	}
	return most
}

// awaitHeld waits until n nodes have the key.
func awaitHeld(t *testing.T, c *redistest.Cluster, name string, n int) {
	t.Helper()
	eventually(t, func() bool { return held(t, c, name) == n }, "%d nodes have the key", n)
}

// tombstones is the number of them on node i.
func tombstones(t *testing.T, c *redistest.Cluster, i int) int {
	t.Helper()
	keys, err := c.Node(i).Admin().Keys(guarded(t), "*").Result()
	require.NoError(t, err)
	n := 0
	for _, k := range keys {
		if strings.Contains(k, ":gone:") {
			n++
		}
	}
	return n
}

// pttl is how long the key lives on node i.
func pttl(t *testing.T, c *redistest.Cluster, i int, key string) time.Duration {
	t.Helper()
	d, err := c.Node(i).Admin().PTTL(guarded(t), key).Result()
	require.NoError(t, err)
	return d
}
