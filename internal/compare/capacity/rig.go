package capacity

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/servers"
	"github.com/conclave-go/conclave/lease"
)

const (
	// parallel is how many calls are under way while a load grows.
	parallel = 64
	// perClient is how many sessions share a client where clients are not what is
	// measured. One connection serves that many with ease.
	perClient = 100
	// closing bounds the end of a load.
	closing = 2 * time.Minute
)

// rig is an etcd member in a process of its own, and clients whose traffic is counted.
type rig struct {
	cfg  Config
	etcd *servers.Etcd
	traffic
	// lost is how many leases were lost since somebody looked.
	lost atomic.Int64

	mu       sync.Mutex
	clients  []*clientv3.Client
	sessions []*lease.Session
}

// start starts an etcd without clients.
func start(ctx context.Context, cfg Config) (*rig, error) {
	opts := []servers.Option{servers.WithOneMember()}
	if cfg.Fsync {
		opts = append(opts, servers.WithFsync())
	}
	etcd, err := servers.StartEtcd(ctx, opts...)
	if err != nil {
		return nil, err
	}
	return &rig{cfg: cfg, etcd: etcd}, nil
}

// client returns a client of its own connection.
func (r *rig) client() (*clientv3.Client, error) {
	c, err := clientv3.New(clientv3.Config{
		Endpoints:   r.etcd.Endpoints(),
		Logger:      zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithStatsHandler(&r.traffic)},
	})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients = append(r.clients, c)
	return c, nil
}

// session returns a session on a client, which is closed with the rig.
func (r *rig) session(ctx context.Context, client *clientv3.Client, opts ...lease.Option) (*lease.Session, error) {
	losses := lease.WithObserver(lease.Observer{Lost: func(*lease.Lease, error) { r.lost.Add(1) }})
	s, err := lease.NewSession(ctx, client, append([]lease.Option{lease.WithTTL(r.cfg.TTL), losses}, opts...)...)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions = append(r.sessions, s)
	return s, nil
}

// ownSession returns a session on a client of its own.
func (r *rig) ownSession(ctx context.Context, opts ...lease.Option) (*lease.Session, error) {
	c, err := r.client()
	if err != nil {
		return nil, err
	}
	return r.session(ctx, c, opts...)
}

// crowd returns n more sessions, on clients that perClient of them share.
func (r *rig) crowd(ctx context.Context, n int, opts ...lease.Option) ([]*lease.Session, error) {
	clients := make([]*clientv3.Client, (n+perClient-1)/perClient)
	for i := range clients {
		var err error
		if clients[i], err = r.client(); err != nil {
			return nil, err
		}
	}
	all := make([]*lease.Session, n)
	_, err := each(ctx, 0, n, func(ctx context.Context, i int) (err error) {
		all[i], err = r.session(ctx, clients[i%len(clients)], opts...)
		return err
	})
	return all, err
}

// closeSessions closes all sessions, which ends what waits for their locks.
func (r *rig) closeSessions(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
	defer cancel()
	r.mu.Lock()
	all := r.sessions
	r.sessions = nil
	r.mu.Unlock()
	_, err := each(ctx, 0, len(all), func(ctx context.Context, i int) error { return all[i].Close(ctx) })
	return err
}

// close ends everything.
func (r *rig) close(ctx context.Context) error {
	errs := []error{r.closeSessions(ctx)}
	for _, c := range r.clients {
		errs = append(errs, c.Close())
	}
	return errors.Join(append(errs, r.etcd.Close())...)
}

// each calls fn for the numbers from..to-1, parallel at a time, until one fails, and
// returns how long each call took.
func each(ctx context.Context, from, to int, fn func(ctx context.Context, i int) error) ([]time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	took := make([]time.Duration, to-from)
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(parallel, to-from) {
		workers.Go(func() {
			for i := range next {
				begun := time.Now()
				if err := fn(ctx, i); err != nil {
					cancel(err)
				}
				took[i-from] = time.Since(begun)
			}
		})
	}
	for i := from; i < to && ctx.Err() == nil; i++ {
		next <- i
	}
	close(next)
	workers.Wait()
	return took, context.Cause(ctx)
}
