package worker

import (
	"context"
	"crypto/rand"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/conclave-go/conclave/redlock"
)

// The kinds of locks on Redis.
const (
	KindRedis  = "redis"  // one node, or five, which makes it Redlock
	KindUptime = "uptime" // that, with nodes that have just been started not voting
	KindNaive  = "naive"  // a control: it gives up what may be another's
)

// callTimeout is that of go-redis for one command.
const callTimeout = time.Second

// Clients are those of some nodes. The first can be led elsewhere.
type Clients struct {
	all   []redis.UniversalClient
	first atomic.Pointer[string]
}

// NewClients returns clients of the nodes.
func NewClients(addrs []string) *Clients {
	c := &Clients{}
	c.first.Store(&addrs[0])
	for i, addr := range addrs {
		opts := &redis.Options{
			Addr: addr, DialerRetries: 1, ContextTimeoutEnabled: true, MaxRetries: -1,
			ReadTimeout: callTimeout, WriteTimeout: callTimeout, DialTimeout: callTimeout, PoolSize: 4,
		}
		opts.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if i == 0 {
				addr = *c.first.Load()
			}
			d := net.Dialer{Timeout: callTimeout}
			return d.DialContext(ctx, network, addr)
		}
		c.all = append(c.all, redis.NewClient(opts))
	}
	return c
}

// Lead lets the first node be the one at addr from the next connection on.
func (c *Clients) Lead(addr string) { c.first.Store(&addr) }

// NewRedlock returns a lock of package redlock: the plain one on one node, Redlock on
// more.
func NewRedlock(clients []redis.UniversalClient, kind, name string, ttl time.Duration) (Locker, error) {
	opts := []redlock.Option{redlock.WithTTL(ttl)}
	if kind == KindUptime {
		opts = append(opts, redlock.WithMinUptime(ttl))
	}
	nodes, err := redlock.NewNodes(clients, opts...)
	if err != nil {
		return nil, err
	}
	m, err := redlock.NewMutex(nodes, name)
	if err != nil {
		return nil, err
	}
	return &redisLocker{nodes, m}, nil
}

type redisLocker struct {
	nodes *redlock.Nodes
	mutex *redlock.Mutex
}

// Lock takes the lock.
func (l *redisLocker) Lock(ctx context.Context) (Hold, error) {
	h, err := l.mutex.Lock(ctx)
	if err != nil {
		return nil, err
	}
	return redisHold{h}, nil
}

// Close removes what is left.
func (l *redisLocker) Close(ctx context.Context) error { return l.nodes.Close(ctx) }

type redisHold struct{ *redlock.Hold }

func (h redisHold) Token() int64                     { return 0 }
func (h redisHold) Key() string                      { return "" }
func (h redisHold) Done() <-chan struct{}            { return h.Context().Done() }
func (h redisHold) Remaining() (time.Duration, bool) { return h.Hold.Remaining(), true }
func (h redisHold) Phantom() bool                    { return false }

// naivePoll is how often the naive lock is asked for.
const naivePoll = 5 * time.Millisecond

// naive is the lock of many a tutorial: SET NX PX and DEL.
type naive struct {
	client redis.UniversalClient
	name   string
	ttl    time.Duration
}

// Lock asks until it gets the lock.
func (n *naive) Lock(ctx context.Context) (Hold, error) {
	for {
		began := time.Now()
		ok, err := n.client.SetNX(ctx, n.name, rand.Text(), n.ttl).Result()
		if err == nil && ok {
			ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), began.Add(n.ttl))
			return &naiveHold{naive: n, ctx: ctx, cancel: cancel}, nil
		}
		if rest(ctx, naivePoll); ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// Close does nothing.
func (n *naive) Close(context.Context) error { return nil }

type naiveHold struct {
	*naive

	ctx    context.Context
	cancel context.CancelFunc
}

func (h *naiveHold) Token() int64          { return 0 }
func (h *naiveHold) Key() string           { return "" }
func (h *naiveHold) Err() error            { return h.ctx.Err() }
func (h *naiveHold) Done() <-chan struct{} { return h.ctx.Done() }
func (h *naiveHold) Phantom() bool         { return false }

func (h *naiveHold) Remaining() (time.Duration, bool) {
	until, _ := h.ctx.Deadline()
	return time.Until(until), true
}

// Unlock deletes the key, whoever's it is by now.
func (h *naiveHold) Unlock(ctx context.Context) error {
	h.cancel()
	return h.client.Del(ctx, h.name).Err()
}
