package redistest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// virtualPool is more connections than a test needs at one time.
const virtualPool = 1000

// Virtual is a set of embedded nodes for tests in testing/synctest bubbles. They have no
// sockets: clients reach them through pipes. Everything is made inside the bubble.
type Virtual struct{ wires []*Wire }

// Wire is a virtual node with the network before it, which can be cut.
type Wire struct {
	redis *miniredis.Miniredis
	first *Wire     // the one to the same node that knows its uptime
	hook  sync.Once // sets what answers INFO

	mu      sync.Mutex
	since   time.Time // what uptime is counted from
	cut     bool
	delay   time.Duration
	changed chan struct{}      // closed and replaced when cut changes
	conns   map[*wireConn]bool // those that are open
	calls   counter
}

// NewVirtual starts n nodes that live as long as the test.
func NewVirtual(tb testing.TB, n int) *Virtual {
	tb.Helper()
	v := &Virtual{}
	for range n {
		w := newWire(miniredis.NewMiniRedis())
		w.first, w.since = w, time.Now()
		w.redis.ClockTTL(true)
		tb.Cleanup(w.redis.Close)
		v.wires = append(v.wires, w)
	}
	return v
}

func newWire(node *miniredis.Miniredis) *Wire {
	return &Wire{redis: node, changed: make(chan struct{}), conns: make(map[*wireConn]bool), calls: newCounter()}
}

// Apart returns the same nodes with wires of their own, for clients that share neither
// cuts nor counts with those of v.
func (v *Virtual) Apart() *Virtual {
	apart := &Virtual{}
	for _, w := range v.wires {
		other := newWire(w.redis)
		other.first = w.first
		apart.wires = append(apart.wires, other)
	}
	return apart
}

// Options returns the settings of a client per node. Their addresses are names only.
func (v *Virtual) Options() []*redis.Options {
	var all []*redis.Options
	for i, w := range v.wires {
		// Not dialled; an IP address, because go-redis looks up names.
		opts := Options(fmt.Sprintf("127.0.0.%d:6379", i+1))
		opts.Dialer = w.dial
		// Who waits for a connection does so with a timer that go-redis keeps for others,
		// which may live in another bubble.
		opts.PoolSize = virtualPool
		// A handshake with it waits for the server with a mutex locked: the bubble's time
		// would stand still for whoever else wants that.
		opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		all = append(all, opts)
	}
	return all
}

// Clients returns a client per node that lives as long as the test.
func (v *Virtual) Clients(tb testing.TB) []redis.UniversalClient {
	tb.Helper()
	var all []redis.UniversalClient
	for i, opts := range v.Options() {
		client := redis.NewClient(opts)
		client.AddHook(hook(v.wires[i].calls.count))
		tb.Cleanup(func() { _ = client.Close() }) // a test may have closed it
		all = append(all, client)
	}
	return all
}

// Wire returns node i.
func (v *Virtual) Wire(i int) *Wire { return v.wires[i] }

// Redis returns the node's data.
func (w *Wire) Redis() *miniredis.Miniredis { return w.redis }

// Calls returns how many commands clients have sent or tried to send, see [Net.Calls].
func (w *Wire) Calls() int { return int(w.calls.calls.Load()) }

// Restart makes the node forget everything, and its uptime begin again.
func (w *Wire) Restart() {
	w.first.begin()
	w.redis.FlushAll()
}

func (w *Wire) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since = time.Now()
}

func (w *Wire) uptime() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.since)
}

// Cut holds back every byte, both ways, until [Wire.Heal].
func (w *Wire) Cut() { w.set(true) }

// Heal delivers what was held back. It does not end a delay.
func (w *Wire) Heal() { w.set(false) }

// Delay lets every message take d, in each direction.
func (w *Wire) Delay(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = d
}

// Reset breaks all connections that are open.
func (w *Wire) Reset() {
	w.mu.Lock()
	conns := slices.Collect(maps.Keys(w.conns))
	w.mu.Unlock()
	for _, c := range conns {
		c.close()
	}
}

// Strand lets nothing pass any more on all connections that are open, as where a router has
// forgotten them. New ones work.
func (w *Wire) Strand() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		c.stranded = true
	}
}

func (w *Wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *Wire) dial(context.Context, string, string) (net.Conn, error) {
	far, err := w.redis.Dial()
	if err != nil {
		return nil, err
	}
	w.first.hook.Do(func() {
		w.redis.Server().SetPreHook(func(peer *server.Peer, command string, args ...string) bool {
			return answerInfo(peer, command, args, w.first.uptime())
		})
	})
	client, near := net.Pipe()
	c := &wireConn{near: near, far: far, ended: make(chan struct{})}
	w.mu.Lock()
	w.conns[c] = true
	w.mu.Unlock()
	go w.forward(c, far, near)
	go w.forward(c, near, far)
	return client, nil
}

// wireConn is a connection through a wire.
type wireConn struct {
	near, far net.Conn
	ended     chan struct{}
	once      sync.Once
	stranded  bool // guarded by the wire's mu
}

func (c *wireConn) close() {
	c.once.Do(func() { close(c.ended); _ = c.near.Close(); _ = c.far.Close() })
}

// inFlight is how many chunks a wire holds, each way: a pipe has no buffer, and both sides
// of a subscription may write at one time.
const inFlight = 64

// forward copies until one side is closed. What is held back is what is in flight, and what
// its sender then cannot write.
func (w *Wire) forward(c *wireConn, dst io.Writer, src io.Reader) {
	chunks := make(chan []byte, inFlight)
	go func() {
		defer close(chunks)
		buf := make([]byte, 32<<10)
		for {
			n, err := src.Read(buf)
			if err != nil {
				return
			}
			select {
			case chunks <- bytes.Clone(buf[:n]):
			case <-c.ended:
				return
			}
		}
	}()
	defer w.forget(c)
	for chunk := range chunks {
		if !w.pass(c) {
			return
		}
		if _, err := dst.Write(chunk); err != nil {
			return
		}
	}
}

func (w *Wire) forget(c *wireConn) {
	c.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, c)
}

// pass waits as long as the wire takes, and until it is not cut. It is false if the
// connection ends first.
func (w *Wire) pass(c *wireConn) bool {
	w.mu.Lock()
	delay, ended := w.delay, c.ended
	w.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ended:
			return false
		}
	}
	for {
		w.mu.Lock()
		cut, changed := w.cut || c.stranded, w.changed
		w.mu.Unlock()
		if !cut {
			return true
		}
		select {
		case <-changed:
		case <-ended:
			return false
		}
	}
}

// Counter counts the calls of a client to whose hooks it is added, as those of
// [Virtual.Clients] are.
func (w *Wire) Counter() redis.Hook { return hook(w.calls.count) }
