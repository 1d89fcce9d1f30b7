package redistest

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
)

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
	changed chan struct{} // closed and replaced when cut changes
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
	return &Wire{redis: node, changed: make(chan struct{}), calls: newCounter()}
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
		client.AddHook(v.wires[i].calls)
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

// Heal delivers what was held back.
func (w *Wire) Heal() { w.set(false) }

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
	ended := make(chan struct{})
	end := sync.OnceFunc(func() { close(ended); _ = near.Close(); _ = far.Close() })
	go w.forward(far, near, ended, end)
	go w.forward(near, far, ended, end)
	return client, nil
}

// forward copies until one side is closed. What is held back is one chunk, and what its
// sender then cannot write.
func (w *Wire) forward(dst io.Writer, src io.Reader, ended <-chan struct{}, end func()) {
	defer end()
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if err != nil || !w.pass(ended) {
			return
		}
		if _, err := dst.Write(buf[:n]); err != nil {
			return
		}
	}
}

// pass waits until the wire is not cut. It is false if the connection ends first.
func (w *Wire) pass(ended <-chan struct{}) bool {
	for {
		w.mu.Lock()
		cut, changed := w.cut, w.changed
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
