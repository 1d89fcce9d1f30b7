package etcdtest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/netfault"
)

// Net is a client's own network to the members: one proxy for each. The
// faults are those of [netfault.Proxy], for all members at once or, by
// [Net.Member], for one.
type Net struct {
	proxies []*netfault.Proxy
}

// NewNet returns a network without faults. The caller closes it.
func (c *Cluster) NewNet() (*Net, error) {
	n := &Net{}
	for _, endpoint := range c.endpoints {
		p, err := netfault.Start(endpoint)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("etcdtest: net: %w", err), n.Close())
		}
		n.proxies = append(n.proxies, p)
	}
	return n, nil
}

// Net returns a network without faults that lives as long as the test.
func (c *Cluster) Net(tb testing.TB) *Net {
	tb.Helper()
	n, err := c.NewNet()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := n.Close(); err != nil {
			tb.Error(err)
		}
	})
	return n
}

// ProxiedClient returns a client with a network of its own, both for as long
// as the test lives.
func (c *Cluster) ProxiedClient(tb testing.TB, opts ...ClientOption) (*clientv3.Client, *Net) {
	tb.Helper()
	n := c.Net(tb)
	return c.Client(tb, slices.Concat([]ClientOption{ViaNet(n)}, opts)...), n
}

// Member returns the proxy to member i.
func (n *Net) Member(i int) *netfault.Proxy { return n.proxies[i] }

// Endpoints returns the addresses that clients dial, by member.
func (n *Net) Endpoints() []string {
	endpoints := make([]string, len(n.proxies))
	for i, p := range n.proxies {
		endpoints[i] = p.Addr()
	}
	return endpoints
}

// Cut blackholes all members.
func (n *Net) Cut() { n.each((*netfault.Proxy).Blackhole) }

// CutToServer blackholes what the client sends.
func (n *Net) CutToServer() { n.each((*netfault.Proxy).BlackholeToServer) }

// CutToClient blackholes what the members send.
func (n *Net) CutToClient() { n.each((*netfault.Proxy).BlackholeToClient) }

// CutMember blackholes member i.
func (n *Net) CutMember(i int) { n.proxies[i].Blackhole() }

// Delay delays everything by d each way.
func (n *Net) Delay(d time.Duration) { n.each(func(p *netfault.Proxy) { p.Delay(d) }) }

// DelayToServer delays what the client sends by d.
func (n *Net) DelayToServer(d time.Duration) {
	n.each(func(p *netfault.Proxy) { p.DelayToServer(d) })
}

// DelayToClient delays what the members send by d.
func (n *Net) DelayToClient(d time.Duration) {
	n.each(func(p *netfault.Proxy) { p.DelayToClient(d) })
}

// RateToServer lets so many bytes a second pass to each member.
func (n *Net) RateToServer(bytesPerSecond int) {
	n.each(func(p *netfault.Proxy) { p.RateToServer(bytesPerSecond) })
}

// RateToClient lets so many bytes a second pass from each member.
func (n *Net) RateToClient(bytesPerSecond int) {
	n.each(func(p *netfault.Proxy) { p.RateToClient(bytesPerSecond) })
}

// Reset resets every connection.
func (n *Net) Reset() { n.each((*netfault.Proxy).Reset) }

// Refuse resets every connection and refuses new ones.
func (n *Net) Refuse() { n.each((*netfault.Proxy).Refuse) }

// HalfOpen lets every member vanish without a word.
func (n *Net) HalfOpen() { n.each((*netfault.Proxy).HalfOpen) }

// Forget lets open connections go silent for good; new ones work.
func (n *Net) Forget() { n.each((*netfault.Proxy).Forget) }

// Heal ends every fault.
func (n *Net) Heal() { n.each((*netfault.Proxy).Heal) }

// Close closes the proxies.
func (n *Net) Close() error {
	var errs []error
	n.each(func(p *netfault.Proxy) { errs = append(errs, p.Close()) })
	return errors.Join(errs...)
}

func (n *Net) each(do func(*netfault.Proxy)) {
	for _, p := range n.proxies {
		do(p)
	}
}
