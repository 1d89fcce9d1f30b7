package etcdtest

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/conclave-go/conclave/internal/netfault"
)

// dialTimeout is what clientv3 bounds an authentication with, and derives its
// patience with a keep-alive from.
const dialTimeout = 5 * time.Second

// ClientOption configures [Cluster.Client] and its likes.
type ClientOption func(*clientv3.Config, *Cluster)

// ViaMember lets the client talk to member i only.
func ViaMember(i int) ClientOption {
	return func(cfg *clientv3.Config, c *Cluster) { cfg.Endpoints = []string{c.endpoints[i]} }
}

// ViaProxies lets the client talk to these proxies instead of the members.
func ViaProxies(proxies ...*netfault.Proxy) ClientOption {
	return func(cfg *clientv3.Config, _ *Cluster) {
		cfg.Endpoints = nil
		for _, p := range proxies {
			cfg.Endpoints = append(cfg.Endpoints, p.Addr())
		}
	}
}

// ViaNet lets the client share the faults of n.
func ViaNet(n *Net) ClientOption { return ViaProxies(n.proxies...) }

// WithUser logs the client in. See [Cluster.EnableAuth].
func WithUser(name, password string) ClientOption {
	return func(cfg *clientv3.Config, _ *Cluster) { cfg.Username, cfg.Password = name, password }
}

// WithRecorder lets r see, and interfere with, the client's RPCs.
func WithRecorder(r *Recorder) ClientOption { return WithDialOptions(r.DialOptions()...) }

// WithDialOptions adds gRPC dial options.
func WithDialOptions(opts ...grpc.DialOption) ClientOption {
	return func(cfg *clientv3.Config, _ *Cluster) { cfg.DialOptions = append(cfg.DialOptions, opts...) }
}

// WithFastReconnect lets the client try to connect again after 10 to 100 ms,
// rather than gRPC's one second and more.
func WithFastReconnect() ClientOption {
	return WithDialOptions(grpc.WithConnectParams(grpc.ConnectParams{
		Backoff: backoff.Config{
			BaseDelay:  10 * time.Millisecond,
			Multiplier: 1.6,
			Jitter:     0.2,
			MaxDelay:   100 * time.Millisecond,
		},
		MinConnectTimeout: time.Second,
	}))
}

// WithConfig edits the client's configuration, after the options before it.
func WithConfig(edit func(*clientv3.Config)) ClientOption {
	return func(cfg *clientv3.Config, _ *Cluster) { edit(cfg) }
}

// Client returns a client of all members that lives as long as the test.
func (c *Cluster) Client(tb testing.TB, opts ...ClientOption) *clientv3.Client {
	tb.Helper()
	client, err := c.NewClient(opts...)
	if err != nil {
		tb.Fatal(err)
	}
	// A test may have closed it already.
	tb.Cleanup(func() { _ = client.Close() })
	return client
}

// Config returns the configuration of a client of all members, which logs nothing.
func (c *Cluster) Config(opts ...ClientOption) clientv3.Config {
	cfg := clientv3.Config{
		Endpoints:   c.Endpoints(),
		DialTimeout: dialTimeout,
		Logger:      zap.NewNop(),
	}
	for _, opt := range opts {
		opt(&cfg, c)
	}
	return cfg
}

// NewClient returns a client with the configuration of [Cluster.Config]. The caller
// closes it.
func (c *Cluster) NewClient(opts ...ClientOption) (*clientv3.Client, error) {
	client, err := clientv3.New(c.Config(opts...))
	if err != nil {
		return nil, fmt.Errorf("etcdtest: client: %w", err)
	}
	return client, nil
}

// Prefix returns a key prefix, ending in a slash, that no other test uses. On
// an external cluster what is left under it is deleted at the test's end.
func (c *Cluster) Prefix(tb testing.TB) string {
	tb.Helper()
	name := strings.ReplaceAll(tb.Name(), "/", ".")
	prefix := fmt.Sprintf("etcdtest/%s/%s/", name, rand.Text()[:8])
	if c.External() {
		tb.Cleanup(func() {
			if err := c.clean(prefix); err != nil {
				tb.Log(err)
			}
		})
	}
	return prefix
}
