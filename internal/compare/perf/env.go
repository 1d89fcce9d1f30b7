package perf

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/internal/servers"
)

// dialTimeout bounds the first connection of a client.
const dialTimeout = 5 * time.Second

// serversOf holds the servers of an [Env] and what the work has got from it.
type serversOf struct {
	etcd  *servers.Etcd
	redis *redistest.Cluster

	mu      sync.Mutex
	closers []func() error
}

var (
	errNotOnEtcd  = errors.New("perf: the work is not on etcd")
	errNotOnRedis = errors.New("perf: the work is not on Redis")
)

// atEnd notes what Close does; what came last is closed first.
func (s *serversOf) atEnd(closer func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, closer)
}

// Close closes all clients, and resumes what hangs. The servers stay.
func (e *Env) Close() error {
	e.servers.mu.Lock()
	defer e.servers.mu.Unlock()
	var errs []error
	for _, closer := range slices.Backward(e.servers.closers) {
		errs = append(errs, closer())
	}
	e.servers.closers = nil
	return errors.Join(errs...)
}

// Endpoints returns the addresses of the etcd members that the work is on.
func (e *Env) Endpoints() []string {
	if e.servers.etcd == nil {
		return nil
	}
	return e.servers.etcd.Endpoints()
}

// Client returns a new etcd client of all members, as a process of its own would have; it
// is closed at the end of the work.
func (e *Env) Client(ctx context.Context) (*clientv3.Client, error) {
	return e.client(ctx, e.Endpoints())
}

func (e *Env) client(ctx context.Context, endpoints []string) (*clientv3.Client, error) {
	if len(endpoints) == 0 {
		return nil, errNotOnEtcd
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: dialTimeout, Logger: zap.NewNop()})
	if err != nil {
		return nil, fmt.Errorf("perf: client: %w", err)
	}
	e.servers.atEnd(func() error {
		if err := c.Close(); !errors.Is(err, context.Canceled) { // the work may have closed it
			return err
		}
		return nil
	})
	// The connection is made now, so that no work measures it.
	if _, err := c.Get(ctx, "connected", clientv3.WithSerializable()); err != nil {
		return nil, fmt.Errorf("perf: client: %w", err)
	}
	return c, nil
}

// Partitioned returns a client whose network the work can cut and mend.
func (e *Env) Partitioned(ctx context.Context) (c *clientv3.Client, cut, mend func(), err error) {
	var proxies []*netfault.Proxy
	var addrs []string
	for _, endpoint := range e.Endpoints() {
		p, err := netfault.Start(endpoint)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("perf: network: %w", err)
		}
		e.servers.atEnd(p.Close)
		proxies, addrs = append(proxies, p), append(addrs, p.Addr())
	}
	each := func(do func(*netfault.Proxy)) func() {
		return func() {
			for _, p := range proxies {
				do(p)
			}
		}
	}
	c, err = e.client(ctx, addrs)
	return c, each((*netfault.Proxy).Blackhole), each((*netfault.Proxy).Heal), err
}

// Writes returns how many raft proposals (entries applied) the etcd leader has seen so far.
// It is the index of the last entry that the leader has committed: each write is one, and
// so is each grant and end of a lease, while reads and renewals are none.
func (e *Env) Writes(ctx context.Context) (int64, error) {
	if e.servers.etcd == nil {
		return 0, errNotOnEtcd
	}
	leader, err := e.servers.etcd.Leader(ctx)
	if err != nil {
		return 0, fmt.Errorf("perf: writes: %w", err)
	}
	status, err := e.servers.etcd.Client().Status(ctx, e.Endpoints()[leader])
	if err != nil {
		return 0, fmt.Errorf("perf: writes: %w", err)
	}
	return int64(status.RaftIndex), nil
}

// Redis returns a new client of each Redis node, closed at the end of the work; tune may
// change their options.
func (e *Env) Redis(tune ...func(*redis.Options)) []redis.UniversalClient {
	if e.servers.redis == nil {
		return nil
	}
	var all []redis.UniversalClient
	for _, n := range e.servers.redis.Nodes() {
		opts := redistest.Options(n.Addr())
		for _, t := range tune {
			t(opts)
		}
		c := redis.NewClient(opts)
		e.servers.atEnd(func() error {
			if err := c.Close(); !errors.Is(err, redis.ErrClosed) { // the work may have closed it
				return err
			}
			return nil
		})
		all = append(all, c)
	}
	return all
}

// Hang suspends Redis node i until resume is called.
func (e *Env) Hang(_ context.Context, i int) (resume func() error, err error) {
	c := e.servers.redis
	if c == nil {
		return nil, errNotOnRedis
	}
	if i < 0 || i >= c.Size() {
		return nil, fmt.Errorf("perf: node %d: there are %d", i, c.Size())
	}
	if err := c.Node(i).Suspend(); err != nil {
		return nil, fmt.Errorf("perf: node %d: %w", i, err)
	}
	e.servers.atEnd(c.Node(i).Resume) // resuming twice does no harm
	return c.Node(i).Resume, nil
}
