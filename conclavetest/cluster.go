package conclavetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// MinTTL is the shortest TTL of a lease that the servers of this package grant. A test
// that waits for an expiry in real time takes at least as long.
const MinTTL = time.Second

const (
	// patience is how long a method waits for what should happen, in whichever time it runs.
	patience = time.Minute
	// memberPatience is the same for what is done to members: on a loaded machine, one of
	// several may take minutes until it serves.
	memberPatience = 4 * time.Minute
)

// Cluster is an etcd of one or more members in this process. Its methods may be called from
// several goroutines, but those that fail the test only from the test's own goroutine.
type Cluster struct {
	server   server
	operator *clientv3.Client // whom no fault concerns
}

// server runs the members of a cluster, in real or in virtual time.
type server interface {
	Endpoints() []string
	Size() int
	Running(i int) bool
	WaitLeader(ctx context.Context, except ...int) (int, error)
	MoveLeader(ctx context.Context) error
	Stop(ctx context.Context, i int) error
	Kill(i int) error
	Restart(ctx context.Context, i int) error
	Compact(ctx context.Context) error
	Isolate(i int) error
	HealLinks()
	Close() error
	// connect returns a way from clients to the members, and the configuration of
	// those who take it. It lasts as long as the test.
	connect(tb testing.TB) (way, clientv3.Config)
}

// Option configures [NewCluster] and [StartCluster].
type Option interface{ apply(c *config) error }

type option func(c *config) error

func (o option) apply(c *config) error { return o(c) }

type config struct {
	members int
	more    []etcdtest.Option
}

// WithMembers sets the number of members, 1 to 7; the default is 1. With three, one can be
// stopped while the others go on.
func WithMembers(n int) Option {
	return option(func(c *config) error {
		if n < 1 || n > 7 {
			return fmt.Errorf("conclavetest: %d members: must be 1 to 7", n)
		}
		c.members = n
		return nil
	})
}

// WithLearner adds a last member that is a learner: like one that an operator has just
// added, it receives all data but has no vote, and refuses whatever needs consensus.
// Clients find it among the others.
func WithLearner() Option {
	return option(func(c *config) error {
		c.more = append(c.more, etcdtest.WithLearner())
		return nil
	})
}

// WithMaxStreams lets a connection to a member have n streams at a time, at least 1, as
// some proxies do: each watch stream, stream of renewals and call under way is one. Those
// beyond the limit wait, with no sign but silence. By default there is no limit but memory.
func WithMaxStreams(n uint32) Option {
	return option(func(c *config) error {
		if n == 0 {
			return errors.New("conclavetest: 0 streams: must be at least 1")
		}
		c.more = append(c.more, etcdtest.WithMaxStreams(n))
		return nil
	})
}

func newConfig(opts []Option) (config, error) {
	c := config{members: 1}
	for _, o := range opts {
		if o == nil {
			return c, errors.New("conclavetest: option is nil: must come from one of the With functions")
		}
		if err := o.apply(&c); err != nil {
			return c, err
		}
	}
	return c, nil
}

// NewCluster starts an etcd for a test; it ends with the test.
func NewCluster(tb testing.TB, opts ...Option) *Cluster {
	tb.Helper()
	// Not the test's own context, which ends before the cleanups run.
	c, err := StartCluster(context.WithoutCancel(tb.Context()), opts...)
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

// StartCluster starts an etcd for a program, such as a demonstration or a TestMain, and
// returns when every member serves. The caller closes it. ctx bounds only the start.
func StartCluster(ctx context.Context, opts ...Option) (*Cluster, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	members, err := etcdtest.Start(ctx, append(cfg.more, etcdtest.WithMembers(cfg.members))...)
	if err != nil {
		return nil, fmt.Errorf("conclavetest: %w", err)
	}
	operator, err := members.NewClient(etcdtest.WithFastReconnect())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("conclavetest: %w", err), members.Close())
	}
	return &Cluster{server: realServer{members}, operator: operator}, nil
}

// Close stops every member and removes their data. It is idempotent. Clusters of
// [NewCluster] and [VirtualCluster] are closed by the end of the test.
func (c *Cluster) Close() error {
	_ = c.operator.Close() // says only that it was closed before
	if err := c.server.Close(); err != nil {
		return fmt.Errorf("conclavetest: %w", err)
	}
	return nil
}

// Endpoints returns the client address of each member, for code that makes its own
// clients or runs in other processes; none in virtual time, where nothing listens. Faults
// of a [Network] need its own addresses, see [Network.Config].
func (c *Cluster) Endpoints() []string { return c.server.Endpoints() }

// Client returns a client of all members that no network fault affects. It lives as long as
// the test.
func (c *Cluster) Client(tb testing.TB) *clientv3.Client {
	tb.Helper()
	return c.Network(tb).Client(tb)
}

// limited is a context with the test's values that ends after some patience. It is
// good in cleanups, too.
func limited(tb testing.TB, patience time.Duration) (context.Context, context.CancelFunc) {
	tb.Helper()
	return context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
}

// realServer runs members in real time.
type realServer struct{ *etcdtest.Cluster }

// connect starts a proxy for each member.
func (s realServer) connect(tb testing.TB) (way, clientv3.Config) {
	tb.Helper()
	net := s.Net(tb)
	return proxies{net}, s.Config(etcdtest.ViaNet(net), etcdtest.WithFastReconnect())
}

// proxies are the network of real time.
type proxies struct{ *etcdtest.Net }

// Delay delays everything, each way.
func (p proxies) Delay(d time.Duration) error {
	p.Net.Delay(d)
	return nil
}

// Rate limits each way.
func (p proxies) Rate(bytesPerSecond int) error {
	p.RateToServer(bytesPerSecond)
	p.RateToClient(bytesPerSecond)
	return nil
}
