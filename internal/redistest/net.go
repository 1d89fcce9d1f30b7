package redistest

import (
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/conclave-go/conclave/internal/netfault"
)

// Options returns the settings of this package's own clients, for a server that may be
// down: one dial each, and no messages of a managed service.
func Options(addr string) *redis.Options {
	return &redis.Options{Addr: addr, DialerRetries: 1}
}

// Clients returns a client per node that lives as long as the test, with default
// settings changed by edit, in the form that redlock takes.
func (c *Cluster) Clients(tb testing.TB, edit ...func(*redis.Options)) []redis.UniversalClient {
	tb.Helper()
	var all []redis.UniversalClient
	for _, n := range c.nodes {
		all = append(all, connect(tb, n.Addr(), edit))
	}
	return all
}

func connect(tb testing.TB, addr string, edit []func(*redis.Options)) *redis.Client {
	tb.Helper()
	opts := Options(addr)
	for _, e := range edit {
		e(opts)
	}
	client := redis.NewClient(opts)
	tb.Cleanup(func() { _ = client.Close() }) // a test may have closed it
	return client
}

// Net is the network between one client and the nodes.
type Net struct {
	proxies []*netfault.Proxy
	calls   counter
}

// Net returns a network in order that lives as long as the test.
func (c *Cluster) Net(tb testing.TB) *Net {
	tb.Helper()
	n := &Net{calls: newCounter()}
	for _, node := range c.nodes {
		p, err := netfault.Start(node.Addr())
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = p.Close() }) // it has no error
		n.proxies = append(n.proxies, p)
	}
	return n
}

// To returns the proxy before node i.
func (n *Net) To(i int) *netfault.Proxy { return n.proxies[i] }

// Heal ends all faults.
func (n *Net) Heal() {
	for _, p := range n.proxies {
		p.Heal()
	}
}

// Clients is [Cluster.Clients] through this network.
func (n *Net) Clients(tb testing.TB, edit ...func(*redis.Options)) []redis.UniversalClient {
	tb.Helper()
	var all []redis.UniversalClient
	for _, p := range n.proxies {
		client := connect(tb, p.Addr(), edit)
		client.AddHook(hook(n.calls.count))
		all = append(all, client)
	}
	return all
}

// Calls returns how many commands the clients have sent or tried to send, a script being
// one. What belongs to a new connection, and subscriptions, are not in it.
func (n *Net) Calls() int { return int(n.calls.calls.Load()) }

// counter counts commands.
type counter struct{ calls *atomic.Int64 }

func newCounter() counter { return counter{new(atomic.Int64)} }

func (c counter) count(cmd redis.Cmder) {
	switch cmd.Name() {
	case "hello", "auth", "select", "client":
	default:
		c.calls.Add(1)
	}
}
