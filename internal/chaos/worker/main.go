package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/internal/clock"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/spec"
	"github.com/conclave-go/conclave/lease"
)

// The roles of processes here, for [process.Main].
const (
	Role         = "worker"
	ResourceRole = "resource"
)

// Job is what a worker is told first.
type Job struct {
	Worker   string        `json:"worker"`
	Kind     string        `json:"kind"`
	Lock     string        `json:"lock"`
	TTL      time.Duration `json:"ttl"`
	Delay    time.Duration `json:"delay"` // the lock delay
	Hold     time.Duration `json:"hold"`
	Think    time.Duration `json:"think"`
	Resource string        `json:"resource"` // its address
	Etcd     []string      `json:"etcd,omitempty"`
	Redis    []string      `json:"redis,omitempty"`
	Seed     uint64        `json:"seed"`
	// Shards is how many locks there are, as shards of a group; 0 is a lock that is none.
	// Plan is how many shards the group has, if more.
	Shards int `json:"shards,omitempty"`
	Plan   int `json:"plan,omitempty"`
	// Trace is the file that all messages go to, for the specification; "" is none.
	Trace string `json:"trace,omitempty"`
}

const (
	// registerPart of the TTL is the patience with a request for the register in etcd.
	registerPart = 20
	sampleEvery  = 10 * time.Millisecond
	// closeTimeout bounds the clean-up of a worker; its parent waits a little longer.
	closeTimeout = 1500 * time.Millisecond
)

// RegisterKey is the key of a lock's register in etcd.
func RegisterKey(lock string) string { return lock + "-register" }

// PlainKey is the key of the register in etcd that nothing but the lock protects.
func PlainKey(lock string) string { return lock + "-plain" }

// Peers make the locks of other libraries on Redis, by their kinds.
type Peers map[string]func(clients []redis.UniversalClient, j Job) (Locker, error)

// Main returns the role of a worker.
func Main(peers Peers) process.Role {
	return func(ctx context.Context, line *process.Line) error { return serve(ctx, peers, line) }
}

func serve(ctx context.Context, peers Peers, line *process.Line) error {
	var j Job
	gate, lead := NewGate(), &leads{}
	told := func(order string) {
		if addr, dials := strings.CutPrefix(order, dial); dials {
			lead.lead(addr)
			return
		}
		if r, sets := strings.CutPrefix(order, rate); sets {
			setRate(r)
			return
		}
		gate.Told(order)
	}
	return line.Serve(ctx, &j, told, func(ctx context.Context) error { return work(ctx, j, peers, gate, lead, line) })
}

// setRate lets this process's clock run at a rate.
func setRate(text string) {
	if r, err := strconv.ParseFloat(text, 64); err == nil && r > 0 {
		clock.SetRate(r)
	}
}

// leads passes the order to connect elsewhere on to the clients, once there are any.
type leads struct {
	mu      sync.Mutex
	clients *Clients
	addr    string
}

func (l *leads) lead(addr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addr = addr
	if l.clients != nil {
		l.clients.Lead(addr)
	}
}

func (l *leads) use(c *Clients) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients = c
	if l.addr != "" {
		c.Lead(l.addr)
	}
}

func work(ctx context.Context, j Job, peers Peers, gate *Gate, lead *leads, line *process.Line) error {
	w := &Worker{
		Name: j.Worker, PID: os.Getpid(), Gate: gate, Now: process.Now,
		Emit: func(e history.Event) { line.Report(e) },
		Hold: j.Hold, Think: j.Think, Sample: sampleEvery, Patience: j.TTL,
		Random: rand.New(rand.NewPCG(j.Seed, 0)),
	}
	if j.Shards > 0 {
		return w.divide(ctx, j)
	}
	var err error
	if w.Resource, err = DialResource(ctx, j.Resource, j.Lock, j.Worker); err != nil {
		return err
	}
	end, err := w.open(ctx, j, peers, lead)
	if err != nil {
		return errors.Join(err, end(ctx))
	}
	w.Run(ctx)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = end(closing) // what could not be removed expires
	return nil
}

// open connects to the servers and makes the locker.
func (w *Worker) open(ctx context.Context, j Job, peers Peers, lead *leads) (end func(context.Context) error, err error) {
	if len(j.Redis) > 0 {
		clients := NewClients(j.Redis)
		lead.use(clients)
		if w.Locker, err = onRedis(clients.all, j, peers); err != nil {
			return nothing, err
		}
		return w.Locker.Close, nil
	}
	client, observer, err := dialEtcd(j)
	if err != nil {
		return nothing, err
	}
	closeClient := func(context.Context) error { return client.Close() }
	switch j.Kind {
	case KindStockMutex, KindStockElection, KindConcurrencyMutex, KindConcurrencyElection:
		w.Locker, err = NewStock(client, j.Kind, j.Lock, j.Worker, j.TTL, j.TTL)
	default:
		w.Locker, err = NewConclave(ctx, client, j.Kind, j.Lock, j.Worker, j.TTL, j.Delay, lease.WithObserver(observer))
	}
	if err != nil {
		return closeClient, err
	}
	w.Register = NewRegister(client, RegisterKey(j.Lock), j.TTL/registerPart)
	w.Plain = NewPlainRegister(client, PlainKey(j.Lock), j.TTL/registerPart)
	return func(ctx context.Context) error { return errors.Join(w.Locker.Close(ctx), client.Close()) }, nil
}

// dialEtcd returns a client, and what is to observe its sessions: with the client's messages
// that goes to the trace.
func dialEtcd(j Job) (*clientv3.Client, lease.Observer, error) {
	var traced *spec.Process
	if j.Trace != "" {
		file, err := os.Create(j.Trace) // open until the process ends
		if err != nil {
			return nil, lease.Observer{}, err
		}
		traced = spec.Trace(file)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: j.Etcd, Logger: zap.NewNop(), DialTimeout: 5 * time.Second, DialOptions: traced.DialOptions(),
	})
	return client, traced.Observer(), err
}

// divide works for shards.
func (w *Worker) divide(ctx context.Context, j Job) error {
	client, observer, err := dialEtcd(j)
	if err != nil {
		return err
	}
	join := joinRing
	if j.Kind == KindShards {
		join = joinMembers
	}
	g, err := join(ctx, client, observer, j, w.Gate)
	if err != nil {
		return errors.Join(err, client.Close())
	}
	err = w.workAll(ctx, j, g, func(lock string) Register { return NewRegister(client, RegisterKey(lock), j.TTL/registerPart) })
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = errors.Join(g.Close(closing), client.Close()) // what could not be removed expires
	return err
}

// onRedis makes a lock on Redis.
func onRedis(clients []redis.UniversalClient, j Job, peers Peers) (Locker, error) {
	if peer, ok := peers[j.Kind]; ok {
		return peer(clients, j)
	}
	if j.Kind == KindNaive {
		return &naive{client: clients[0], name: j.Lock, ttl: j.TTL}, nil
	}
	return NewRedlock(clients, j.Kind, j.Lock, j.TTL)
}

func nothing(context.Context) error { return nil }

// ResourceMain is the role of the resource. It reports its address as the detail of an
// event that is ready, and then its verdicts.
func ResourceMain(ctx context.Context, line *process.Line) error {
	var job struct{}
	return line.Serve(ctx, &job, func(string) {}, func(ctx context.Context) error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("resource: %w", err)
		}
		stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // which ends Serve
		defer stop()
		r := NewResource(process.Now, func(e history.Event) { line.Report(e) })
		line.Report(history.Event{At: process.Now(), Kind: history.Ready, Detail: l.Addr().String()})
		return r.Serve(l)
	})
}
