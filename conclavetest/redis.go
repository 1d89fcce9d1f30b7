package conclavetest

import (
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/clock"
	"github.com/conclave-go/conclave/internal/redistest"
)

// subscriptionPoll is how often AwaitWaiters looks at subscriptions, which tell nobody
// of their coming.
const subscriptionPoll = 5 * time.Millisecond

// Redis is a set of independent Redis servers, the nodes of a lock of package redlock. They
// are miniredis servers in this process, so no redis-server is needed, and forget
// everything when they restart. Its methods may be called from several goroutines, but
// those that fail the test only from the test's own goroutine.
type Redis struct {
	nodes  []*miniredis.Miniredis
	server redisServer

	mu       sync.Mutex
	hung     []bool
	networks []*RedisNetwork
}

// redisServer runs the nodes, in real or in virtual time.
type redisServer interface {
	addresses() []string
	restart(tb testing.TB, i int)
	// connect returns ways to the nodes, with the settings of clients that take them.
	connect(tb testing.TB) ([]redisWay, []*redis.Options)
	close() error
}

// redisWay is a way to one node.
type redisWay interface {
	hold()
	heal()
}

// NewRedis starts n nodes for a test; they end with it.
func NewRedis(tb testing.TB, n int) *Redis {
	tb.Helper()
	r, err := StartRedis(n)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Close(); err != nil {
			tb.Error(err)
		}
	})
	return r
}

// StartRedis starts n nodes for a program. The caller closes them.
func StartRedis(n int) (*Redis, error) {
	if err := checkNodes(n); err != nil {
		return nil, err
	}
	c, err := redistest.StartEmbedded(n)
	if err != nil {
		return nil, fmt.Errorf("conclavetest: %w", err)
	}
	nodes := make([]*miniredis.Miniredis, n)
	for i, node := range c.Nodes() {
		nodes[i] = node.Redis()
	}
	return newRedis(nodes, realRedis{c}), nil
}

// VirtualRedis calls fn in a [testing/synctest] bubble with n nodes, whose clock is the
// bubble's: see [VirtualCluster], whose rules hold here, too. A restart leaves
// connections alone there.
func VirtualRedis(t *testing.T, n int, fn func(t *testing.T, r *Redis)) {
	t.Helper()
	if err := checkNodes(n); err != nil {
		t.Fatal(err)
	}
	restoreClock := clock.Virtual()
	defer restoreClock()
	bubble.Test(t, func(t *testing.T) {
		t.Helper()
		v := redistest.NewVirtual(t, n)
		nodes := make([]*miniredis.Miniredis, n)
		for i := range n {
			nodes[i] = v.Wire(i).Redis()
		}
		fn(t, newRedis(nodes, virtualRedis{v, n}))
	})
}

func newRedis(nodes []*miniredis.Miniredis, server redisServer) *Redis {
	return &Redis{nodes: nodes, server: server, hung: make([]bool, len(nodes))}
}

func checkNodes(n int) error {
	if n < 1 {
		return fmt.Errorf("conclavetest: %d nodes: must be 1 or more", n)
	}
	return nil
}

// Close ends the nodes. It is idempotent. Those of [NewRedis] and [VirtualRedis] are
// closed by the end of the test.
func (r *Redis) Close() error { return r.server.close() }

// Addresses returns the host:port of each node, for code that makes its own clients or
// runs in other processes; none in virtual time. Hung nodes answer there: faults need the
// addresses of a [RedisNetwork].
func (r *Redis) Addresses() []string { return r.server.addresses() }

// Restart ends node i and starts it without its keys, like a server without persistence.
// Its connections break. A lock that a majority had before may be granted twice after that,
// which is where Redlock ends.
func (r *Redis) Restart(tb testing.TB, i int) {
	tb.Helper()
	r.checkNode(tb, i)
	r.server.restart(tb, i)
}

// Hang makes node i answer nobody on any [RedisNetwork] until [Redis.Resume], as if its
// process were stopped: connections stay, and what is sent to it takes effect afterwards.
func (r *Redis) Hang(tb testing.TB, i int) {
	tb.Helper()
	r.setHung(tb, i, true)
}

// Resume ends [Redis.Hang].
func (r *Redis) Resume(tb testing.TB, i int) {
	tb.Helper()
	r.setHung(tb, i, false)
}

func (r *Redis) setHung(tb testing.TB, i int, hung bool) {
	tb.Helper()
	r.checkNode(tb, i)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hung[i] = hung
	for _, n := range r.networks {
		n.apply(i)
	}
}

// AdvanceClock moves the clock of node i forward by d: keys expire that much earlier
// there, as when somebody sets the clock of a server. Nobody is told of an expiry; see
// [Redis.Wake].
func (r *Redis) AdvanceClock(tb testing.TB, i int, d time.Duration) {
	tb.Helper()
	r.checkNode(tb, i)
	if d < 0 {
		tb.Fatalf("conclavetest: advancing a clock by %v: must be 0 or more", d)
	}
	r.nodes[i].FastForward(d)
}

// Wake wakes the waiters for a lock, one in each process, as a release does: they ask the
// nodes at once rather than at their next poll. The key is the lock's name, with the prefix
// of redlock.WithKeyPrefix if there is one.
func (r *Redis) Wake(tb testing.TB, key string) {
	tb.Helper()
	token := rand.Text() // those of releases are told apart
	for _, node := range r.nodes {
		node.Publish(channel(key), token)
	}
}

// AwaitWaiters waits until at least n processes wait for a lock: n redlock.Nodes whose
// calls of Lock, however many, have heard that it is taken and want to be told of its
// release by a majority of the nodes. The key is that of [Redis.Wake]. A process counts
// for a second after its last call of Lock has returned. It fails the test after a
// minute.
func (r *Redis) AwaitWaiters(tb testing.TB, key string, n int) {
	tb.Helper()
	ctx, cancel := limited(tb, patience)
	defer cancel()
	ticker := time.NewTicker(subscriptionPoll)
	defer ticker.Stop()
	for {
		waiting := r.waiting(key)
		if waiting >= n {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			tb.Fatalf("conclavetest: waiting for %d waiters of lock %q: %v; there are %d", n, key, ctx.Err(), waiting)
		}
	}
}

// waiting returns how many subscribers a majority of the nodes has.
func (r *Redis) waiting(key string) int {
	counts := make([]int, len(r.nodes))
	for i, node := range r.nodes {
		counts[i] = node.PubSubNumSub(channel(key))[channel(key)]
	}
	slices.Sort(counts)
	return counts[(len(counts)-1)/2]
}

// channel returns where releases of a lock are told.
func channel(key string) string { return key + ":released" }

// checkNode fails the test if there is no node i.
func (r *Redis) checkNode(tb testing.TB, i int) {
	tb.Helper()
	if i < 0 || i >= len(r.nodes) {
		tb.Fatalf("conclavetest: node %d: must be 0 to %d", i, len(r.nodes)-1)
	}
}
