package conclavetest

import (
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/internal/redistest"
)

// RedisNetwork is what lies between the clients of one process and the nodes. It is in
// order until one of its methods breaks it.
type RedisNetwork struct {
	redis   *Redis
	ways    []redisWay
	options []*redis.Options
	cut     []bool // guarded by redis.mu
}

// Network returns a network in order that lives as long as the test. Its end heals it,
// after the functions that the test gave to Cleanup since.
func (r *Redis) Network(tb testing.TB) *RedisNetwork {
	tb.Helper()
	n := &RedisNetwork{redis: r, cut: make([]bool, len(r.nodes))}
	n.ways, n.options = r.server.connect(tb)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.networks = append(r.networks, n)
	for i := range r.nodes {
		n.apply(i)
	}
	tb.Cleanup(n.leave)
	return n
}

// leave ends all faults for good.
func (n *RedisNetwork) leave() {
	n.redis.mu.Lock()
	defer n.redis.mu.Unlock()
	n.redis.networks = slices.DeleteFunc(n.redis.networks, func(o *RedisNetwork) bool { return o == n })
	for _, w := range n.ways {
		w.heal()
	}
}

// Options returns the settings of a client for each node, for code that makes its own:
// change what it needs and give them to [redis.NewClient].
func (n *RedisNetwork) Options() []*redis.Options {
	all := make([]*redis.Options, len(n.options))
	for i, o := range n.options {
		own := *o
		all[i] = &own
	}
	return all
}

// Clients returns a client for each node, in the form that redlock.NewNodes takes. They
// live as long as the test.
func (n *RedisNetwork) Clients(tb testing.TB) []redis.UniversalClient {
	tb.Helper()
	var all []redis.UniversalClient
	for _, o := range n.Options() {
		client := redis.NewClient(o)
		tb.Cleanup(func() { _ = client.Close() }) // the test may have closed it
		all = append(all, client)
	}
	return all
}

// Cut lets nothing pass between these clients and any node. What is sent meanwhile
// arrives after [RedisNetwork.Heal].
func (n *RedisNetwork) Cut() { n.set(true) }

// CutNode lets nothing pass between these clients and node i.
func (n *RedisNetwork) CutNode(tb testing.TB, i int) {
	tb.Helper()
	n.redis.checkNode(tb, i)
	n.redis.mu.Lock()
	defer n.redis.mu.Unlock()
	n.cut[i] = true
	n.apply(i)
}

// Heal ends every cut of this network. Nodes that hang go on hanging.
func (n *RedisNetwork) Heal() { n.set(false) }

func (n *RedisNetwork) set(cut bool) {
	n.redis.mu.Lock()
	defer n.redis.mu.Unlock()
	for i := range n.cut {
		n.cut[i] = cut
		n.apply(i)
	}
}

// apply does to the way to node i what follows from all faults. redis.mu must be held.
func (n *RedisNetwork) apply(i int) {
	if n.cut[i] || n.redis.hung[i] {
		n.ways[i].hold()
	} else {
		n.ways[i].heal()
	}
}

// realRedis runs nodes in real time.
type realRedis struct{ *redistest.Cluster }

func (r realRedis) addresses() []string {
	var all []string
	for _, n := range r.Nodes() {
		all = append(all, n.Addr())
	}
	return all
}

func (r realRedis) restart(tb testing.TB, i int) {
	tb.Helper()
	r.Node(i).Restart(tb)
}

func (r realRedis) connect(tb testing.TB) (ways []redisWay, options []*redis.Options) {
	tb.Helper()
	net := r.Net(tb)
	for i := range r.Size() {
		ways = append(ways, proxied{net.To(i)})
		options = append(options, redistest.Options(net.To(i).Addr()))
	}
	return ways, options
}

func (r realRedis) close() error { return r.Close() }

// proxied is a way through a proxy.
type proxied struct{ proxy *netfault.Proxy }

func (p proxied) hold() { p.proxy.Blackhole() }

func (p proxied) heal() { p.proxy.Heal() }

// virtualRedis is n nodes in virtual time.
type virtualRedis struct {
	nodes *redistest.Virtual
	n     int
}

func (r virtualRedis) addresses() []string { return nil }

func (r virtualRedis) restart(_ testing.TB, i int) { r.nodes.Wire(i).Restart() }

func (r virtualRedis) connect(testing.TB) (ways []redisWay, options []*redis.Options) {
	apart := r.nodes.Apart()
	for i := range r.n {
		ways = append(ways, piped{apart.Wire(i)})
	}
	return ways, apart.Options()
}

func (r virtualRedis) close() error { return nil }

// piped is a way through pipes.
type piped struct{ wire *redistest.Wire }

func (p piped) hold() { p.wire.Cut() }

func (p piped) heal() { p.wire.Heal() }
