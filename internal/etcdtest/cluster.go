package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/conclave-go/conclave/internal/ports"
	_ "github.com/conclave-go/conclave/internal/smallwal"
	"github.com/conclave-go/conclave/internal/tempdir"
)

// EndpointsVariable names the environment variable with the comma-separated
// endpoints of an external cluster, for [New].
const EndpointsVariable = "CONCLAVE_ETCD_ENDPOINTS"

const (
	// readyTimeout bounds how long a member may take until it serves. It takes a tenth
	// of a second. On a loaded machine a leader with so short an election timeout does
	// not last, and what a member proposes before it serves costs 5.2 s each time it is
	// lost: six times in a row now and then.
	readyTimeout = 3 * time.Minute
	// portAttempts is how often a cluster is started anew when another process
	// has taken one of its ports in between.
	portAttempts = 10
	// embeddedMinTTL follows from the election timeout: etcd rounds one and a
	// half of it up to seconds.
	embeddedMinTTL = time.Second
)

// ErrExternal is returned by methods that need control over the members, on a
// cluster that was not started here. Ask for [WithControl].
var ErrExternal = errors.New("etcdtest: not possible on an external cluster")

// Cluster is a running etcd cluster. Its methods may be called concurrently,
// except that stopping, killing and restarting are one after another.
type Cluster struct {
	endpoints []string
	members   []*member // empty for an external cluster
	dir       *tempdir.Dir
	learner   bool // the last member is one
	minTTL    func() (time.Duration, error)

	mu   sync.Mutex
	cuts map[link]struct{} // between members, see links.go
	auth bool
}

// New starts a cluster for a test and closes it at its end. Without
// [WithControl] or several members it is the external cluster, if there is one.
func New(tb testing.TB, opts ...Option) *Cluster {
	tb.Helper()
	cfg, err := newConfig(opts)
	if err != nil {
		tb.Fatal(err)
	}
	if list := os.Getenv(EndpointsVariable); list != "" && !cfg.control {
		return newExternal(strings.Split(list, ","))
	}
	// Not the test's own context: that ends before the cleanups run.
	c, err := start(context.WithoutCancel(tb.Context()), cfg)
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

// Start starts an embedded cluster and returns when every member serves. The
// caller closes it. ctx bounds only the start.
func Start(ctx context.Context, opts ...Option) (*Cluster, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	return start(ctx, cfg)
}

func start(ctx context.Context, cfg config) (*Cluster, error) {
	var err error
	for range portAttempts {
		var c *Cluster
		if c, err = startOnce(ctx, cfg); err == nil {
			return c, nil
		}
		if !ports.Taken(err) {
			break
		}
	}
	return nil, fmt.Errorf("etcdtest: start: %w", err)
}

func startOnce(ctx context.Context, cfg config) (*Cluster, error) {
	size := cfg.members
	if cfg.learner {
		size++
	}
	kept, err := ports.Etcd.Keep(2 * size)
	if err != nil {
		return nil, err
	}
	dir, err := tempdir.Make("etcd")
	if err != nil {
		ports.Release(kept...)
		return nil, err
	}
	c := &Cluster{
		dir:     dir,
		learner: cfg.learner,
		cuts:    make(map[link]struct{}),
		minTTL:  func() (time.Duration, error) { return embeddedMinTTL, nil },
	}
	for i := range size {
		c.members = append(c.members, newMember(i, filepath.Join(dir.Path(), memberName(i)), kept[2*i], kept[2*i+1]))
		c.members[i].tokenTTL, c.members[i].streams = cfg.tokenTTL, cfg.streams
		c.endpoints = append(c.endpoints, c.members[i].clientAddr())
	}
	err = c.introduceMembers()
	if err == nil {
		err = c.startAll(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// introduceMembers gives the members a way to each other. It leads through
// proxies for the sake of their end: etcd leaves idle connections between
// members open, and a server that closes waits for those of its own.
func (c *Cluster) introduceMembers() error {
	peers := make([]string, len(c.members))
	for i, m := range c.members {
		if len(c.members) > 1 {
			if err := m.proxyPeers(); err != nil {
				return err
			}
		}
		peers[i] = m.name + "=" + m.advertised.String()
	}
	for i, m := range c.members {
		m.initialCluster = strings.Join(peers[:max(c.voters(), i+1)], ",")
		m.token = filepath.Base(c.dir.Path())
	}
	return nil
}

// startAll starts the members and waits until all serve. They start one after
// another: each asks the others whether it is new here, and one that listens
// already but does not answer yet would cost it a second.
func (c *Cluster) startAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	voters := c.members[:c.voters()]
	for _, m := range voters {
		if err := m.start(); err != nil {
			return err
		}
	}
	for _, m := range voters {
		if err := m.awaitReady(ctx); err != nil {
			return err
		}
	}
	if !c.learner {
		return nil
	}
	return c.addLearner(ctx)
}

// addLearner has the members expect the learner, and starts it.
func (c *Cluster) addLearner(ctx context.Context) error {
	m := c.members[c.voters()]
	err := c.administer(func(admin *clientv3.Client) error {
		return insist(ctx, func(ctx context.Context) error {
			_, err := admin.MemberAddAsLearner(ctx, []string{m.advertised.String()})
			if errors.Is(err, rpctypes.ErrPeerURLExist) {
				return nil // an earlier attempt has come through after all
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	m.joins = true
	if err := m.restart(ctx); err != nil {
		return err
	}
	return m.awaitReady(ctx)
}

// voters is how many members have a vote; they are the first.
func (c *Cluster) voters() int {
	if c.learner {
		return len(c.members) - 1
	}
	return len(c.members)
}

// Endpoints returns the client address of every member, stopped ones included.
func (c *Cluster) Endpoints() []string { return slices.Clone(c.endpoints) }

// Size returns the number of members, or of an external cluster's endpoints.
func (c *Cluster) Size() int { return len(c.endpoints) }

// External reports whether the cluster was started elsewhere.
func (c *Cluster) External() bool { return len(c.members) == 0 }

// MinTTL returns the smallest lease TTL that the servers grant.
func (c *Cluster) MinTTL(tb testing.TB) time.Duration {
	tb.Helper()
	ttl, err := c.minTTL()
	if err != nil {
		tb.Fatal(err)
	}
	return ttl
}

// Close stops every member and removes their data. It does nothing to an
// external cluster, and is idempotent. Clients are the caller's to close,
// before or after.
func (c *Cluster) Close() error {
	if c.External() {
		return nil
	}
	var wg sync.WaitGroup
	for _, m := range c.members {
		wg.Go(m.kill)
	}
	wg.Wait()
	for _, m := range c.members {
		m.abandon()
	}
	if err := c.dir.Remove(); err != nil {
		return fmt.Errorf("etcdtest: close: %w", err)
	}
	return nil
}

// Stop shuts member i down as an operator would: it gives its leadership away
// first. Its clients are cut off without a grace period.
func (c *Cluster) Stop(ctx context.Context, i int) error {
	m, err := c.member(i)
	if err != nil {
		return err
	}
	if c.Leader() == i && c.Size() > 1 {
		// Best effort, as in etcd: without a majority there is nobody to take it.
		_ = c.MoveLeader(ctx)
	}
	m.kill()
	return nil
}

// Kill stops member i at once, as the death of its process would: connections
// break, nothing is handed over. What it had written it finds again after
// [Cluster.Restart].
func (c *Cluster) Kill(i int) error {
	m, err := c.member(i)
	if err != nil {
		return err
	}
	m.kill()
	return nil
}

// Restart starts member i, stopped before, on its old ports and data. If it is
// one of a running majority that can reach it, Restart returns when it serves.
func (c *Cluster) Restart(ctx context.Context, i int) error {
	m, err := c.member(i)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := m.restart(ctx); err != nil {
		return fmt.Errorf("etcdtest: restart: %w", err)
	}
	c.reapplyCuts(i)
	if !c.hasMajority(i) {
		return nil
	}
	if err := m.awaitReady(ctx); err != nil {
		return fmt.Errorf("etcdtest: restart: %w", err)
	}
	return nil
}

// Running reports whether member i is running. All of an external cluster is.
func (c *Cluster) Running(i int) bool {
	return c.External() || c.members[i].server() != nil
}

// Etcd returns the embedded server of member i, for what this package does not
// offer; nil when it is stopped or external.
func (c *Cluster) Etcd(i int) *embed.Etcd {
	if c.External() {
		return nil
	}
	return c.members[i].embedded()
}

func (c *Cluster) member(i int) (*member, error) {
	if c.External() {
		return nil, ErrExternal
	}
	if i < 0 || i >= len(c.members) {
		return nil, fmt.Errorf("etcdtest: member %d: must be 0 to %d", i, len(c.members)-1)
	}
	return c.members[i], nil
}
