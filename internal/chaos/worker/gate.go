package worker

import (
	"context"
	"strconv"
	"strings"
	"sync"
)

// The points at which a worker can be asked to wait.
const (
	Stay    = "stay"    // it has the lock and has read; it keeps it until it is told, or Enough
	Before  = "before"  // its look at the hold
	Between = "between" // that and its writes
)

// The orders that a worker understands, besides [Arm], [Give], [Dial] and [Rate].
const (
	Go     = "go"     // goes on from the point
	Enough = "enough" // ends a stay
)

const (
	arm  = "arm "
	give = "give "
	dial = "dial "
	rate = "rate "
)

// Arm orders a worker to wait at a point, once.
func Arm(point string) string { return arm + point }

// Give orders a worker that gives up its first shard to give it to another of that name, if
// there is one; "" is anybody.
func Give(name string) string { return give + name }

// Dial orders a worker to connect to addr from now on instead of its first node.
func Dial(addr string) string { return dial + addr }

// Rate orders a worker to let its clock run at another rate; 1 is right.
func Rate(r float64) string { return rate + strconv.FormatFloat(r, 'g', -1, 64) }

// Gate is where a worker waits at points. Use NewGate.
type Gate struct {
	mu      sync.Mutex
	armed   string
	proceed chan struct{} // closed by Go
	enough  chan struct{} // closed by Enough
	heir    string        // see Give
}

// NewGate returns a gate that is open.
func NewGate() *Gate { return &Gate{} }

// Told carries out an order.
func (g *Gate) Told(order string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if point, arms := strings.CutPrefix(order, arm); arms {
		unblock(g.proceed) // who waits at another point would wait for ever
		unblock(g.enough)
		g.armed, g.proceed, g.enough = point, make(chan struct{}), make(chan struct{})
	}
	if name, gives := strings.CutPrefix(order, give); gives {
		g.heir = name
	}
	switch order {
	case Go:
		unblock(g.proceed)
		g.armed = ""
	case Enough:
		unblock(g.enough)
	}
}

// unblock closes a channel, if there is one and it is not closed.
func unblock(c chan struct{}) {
	if c != nil && !isClosed(c) {
		close(c)
	}
}

// givesTo returns to whom a shard is to be given, "" if to anybody.
func (g *Gate) givesTo() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.heir
}

// at waits at the point if it was ordered, and then reports whether it was, and the
// channel that ends a stay.
func (g *Gate) at(ctx context.Context, point string, reached func()) (enough <-chan struct{}, waited bool) {
	g.mu.Lock()
	armed, proceed, enough := g.armed, g.proceed, g.enough
	g.mu.Unlock()
	if armed != point {
		return nil, false
	}
	reached()
	select {
	case <-proceed:
	case <-ctx.Done():
	}
	return enough, true
}
