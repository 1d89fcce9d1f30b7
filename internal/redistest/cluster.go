package redistest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// RequireVariable is the environment variable that, set to 1, makes [New] fail a test
// that it would otherwise skip.
const RequireVariable = "CONCLAVE_REQUIRE_REDIS"

// callTimeout bounds what this package itself asks of a node that is up.
const callTimeout = 10 * time.Second

// Option configures [New] and [Start].
type Option func(*config)

type config struct {
	appendOnly, cluster bool
	masters             int // of a Redis Cluster of all nodes; 0 makes one of each
	tls                 bool
	certificate         *certificate // nil without TLS
	master              string       // that a Sentinel watches; empty for a server
	clock               string       // library that moves it; empty for none
	lent                bool         // to a test, which leaves it to the next
}

func newConfig(opts []Option) config {
	var cfg config
	for _, o := range opts {
		o(&cfg)
	}
	return cfg
}

// WithAppendOnly lets nodes write each change to a file before they answer, or do as if,
// so that keys survive [Node.Kill].
func WithAppendOnly() Option { return func(c *config) { c.appendOnly = true } }

// WithRedisCluster makes each process a Redis Cluster of one, which refuses commands
// whose keys are in different slots. Embedded nodes do not.
func WithRedisCluster() Option { return func(c *config) { c.cluster = true } }

// Cluster is a set of independent nodes.
type Cluster struct {
	nodes []*Node
	trust *tls.Config // of clients, nil without TLS
	lent  bool        // its processes may be used before and after
	// end closes the cluster, once.
	end func() error
}

// runner is what a node runs.
type runner interface {
	addr() string
	kill() error
	// restart returns when the server answers again.
	restart(ctx context.Context) error
}

// Node is one Redis server.
type Node struct {
	runner
	embedded *embedded // nil if it is a process
	process  *process  // nil if it is embedded
	admin    *redis.Client
	changed  atomic.Bool // into what no other test expects
}

// New returns n processes for the time of the test. They may have been used before, but
// nothing shows that except their uptime.
func New(tb testing.TB, n int, opts ...Option) *Cluster {
	tb.Helper()
	if _, err := exec.LookPath(binary); err != nil {
		if os.Getenv(RequireVariable) == "1" {
			tb.Fatalf("redistest: %s=1: %v", RequireVariable, err)
		}
		tb.Skipf("SKIPPED %s: %v", tb.Name(), err)
	}
	cfg := newConfig(opts)
	cfg.lent = cfg == config{}
	c, err := startProcesses(tb.Context(), n, cfg)
	return c.until(tb, err)
}

// NewEmbedded starts n embedded nodes that live as long as the test.
func NewEmbedded(tb testing.TB, n int, opts ...Option) *Cluster {
	tb.Helper()
	c, err := StartEmbedded(n, opts...)
	return c.until(tb, err)
}

func (c *Cluster) until(tb testing.TB, err error) *Cluster {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// Start starts n processes of redis-server and returns when all of them answer. ctx
// bounds the start only.
func Start(ctx context.Context, n int, opts ...Option) (*Cluster, error) {
	return startProcesses(ctx, n, newConfig(opts))
}

func startProcesses(ctx context.Context, n int, cfg config) (*Cluster, error) {
	if cfg.tls {
		var err error
		if cfg.certificate, err = newCertificate(); err != nil {
			return nil, fmt.Errorf("redistest: %w", err)
		}
	}
	return start(n, cfg, func(node *Node) (err error) {
		if cfg.lent {
			node.process = unused.take()
		}
		if node.process == nil {
			node.process, err = startProcess(ctx, cfg)
		}
		node.runner = node.process
		return err
	}, func(c *Cluster) error {
		switch {
		case cfg.masters > 0:
			return c.join(ctx, cfg.masters)
		case cfg.cluster:
			return c.assignSlots(ctx)
		default:
			return nil
		}
	})
}

// assignSlots makes a Redis Cluster of each node.
func (c *Cluster) assignSlots(ctx context.Context) error {
	for _, n := range c.nodes {
		if err := n.admin.ClusterAddSlotsRange(ctx, 0, 16383).Err(); err != nil {
			return err
		}
		for {
			info, err := n.admin.ClusterInfo(ctx).Result()
			if err != nil {
				return err
			}
			if strings.Contains(info, "cluster_state:ok") {
				break
			}
		}
	}
	return nil
}

// StartEmbedded starts n embedded nodes.
func StartEmbedded(n int, opts ...Option) (*Cluster, error) {
	return start(n, newConfig(opts), func(node *Node) (err error) {
		node.embedded, err = startEmbedded(newConfig(opts))
		node.runner = node.embedded
		return err
	}, func(*Cluster) error { return nil })
}

func start(n int, cfg config, start func(*Node) error, then func(*Cluster) error) (*Cluster, error) {
	c := &Cluster{lent: cfg.lent}
	if c.lent {
		unused.enter()
	}
	if cfg.certificate != nil {
		c.trust = cfg.certificate.trust
	}
	c.end = sync.OnceValue(c.close)
	for range n {
		node := &Node{}
		if err := start(node); err != nil {
			return nil, errors.Join(fmt.Errorf("redistest: %w", err), c.Close())
		}
		options := Options(node.Addr())
		options.TLSConfig = c.trust
		node.admin = redis.NewClient(options)
		node.admin.AddHook(hook(node.notice))
		c.nodes = append(c.nodes, node)
	}
	if err := then(c); err != nil {
		return nil, errors.Join(fmt.Errorf("redistest: %w", err), c.Close())
	}
	return c, nil
}

// Close kills all nodes, except those that another test will use. It is idempotent.
func (c *Cluster) Close() error { return c.end() }

func (c *Cluster) close() error {
	var errs []error
	for _, n := range c.nodes {
		reused := c.lent && n.reuse()
		_ = n.admin.Close() // says only that it was closed before
		switch {
		case reused:
		case n.process != nil:
			errs = append(errs, n.process.finish())
		default:
			errs = append(errs, n.kill())
			releaseAddress(n.Addr())
		}
	}
	if c.lent {
		errs = append(errs, unused.leave())
	}
	return errors.Join(errs...)
}

// Size returns the number of nodes.
func (c *Cluster) Size() int { return len(c.nodes) }

// Node returns node i.
func (c *Cluster) Node(i int) *Node { return c.nodes[i] }

// Nodes returns all nodes.
func (c *Cluster) Nodes() []*Node { return c.nodes }

// Advance moves the clock of embedded nodes forward: keys expire that much earlier. It
// does nothing to processes.
func (c *Cluster) Advance(d time.Duration) {
	for _, n := range c.nodes {
		if n.embedded != nil {
			n.embedded.redis.FastForward(d)
		}
	}
}

// Embedded reports whether the node runs in this process.
func (n *Node) Embedded() bool { return n.embedded != nil }

// Addr returns the node's host:port, which stays the same.
func (n *Node) Addr() string { return n.addr() }

// Admin returns a client of the node that passes no proxy.
func (n *Node) Admin() *redis.Client { return n.admin }

// Kill ends the node at once, as a crash does.
func (n *Node) Kill(tb testing.TB) {
	tb.Helper()
	if err := n.Crash(); err != nil {
		tb.Fatal(err)
	}
}

// Restart kills the node if it is up, starts it again, and returns when it answers.
func (n *Node) Restart(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), callTimeout)
	defer cancel()
	if err := n.Revive(ctx); err != nil {
		tb.Fatal(err)
	}
}

// Stop suspends a process, until [Node.Continue]. Its connections stay open.
func (n *Node) Stop(tb testing.TB) {
	tb.Helper()
	if err := n.Suspend(); err != nil {
		tb.Fatal(err)
	}
}

// Continue resumes a process that was stopped.
func (n *Node) Continue(tb testing.TB) {
	tb.Helper()
	if err := n.Resume(); err != nil {
		tb.Fatal(err)
	}
}

// Load makes an embedded node answer everything as a server does that is loading its
// data, or ends that.
func (n *Node) Load(tb testing.TB, on bool) {
	tb.Helper()
	if n.embedded == nil {
		tb.Fatal("redistest: only an embedded node can be made to load")
	}
	n.embedded.load(on)
}
