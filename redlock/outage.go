package redlock

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// firstWarning and lastWarning bound the time from one line in the log to the next
	// while nodes are no quorum.
	firstWarning = 10 * time.Second
	lastWarning  = 10 * time.Minute
)

// outage tells the log that nodes are no quorum and that they are again, however many ask
// them, and of keys that could not be removed.
type outage struct {
	log      *slog.Logger
	on       atomic.Bool
	requests pace
	keys     pace
}

// pace lets something be said at once, and then with growing distance.
type pace struct {
	mu       sync.Mutex
	next     time.Time // not before
	distance time.Duration
}

// due reports whether it is to be said now. It begins anew after a time without a cause.
func (p *pace) due() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Before(p.next) {
		return false
	}
	if p.next.IsZero() || now.Sub(p.next) > lastWarning {
		p.distance = firstWarning
	}
	p.next, p.distance = now.Add(p.distance), min(2*p.distance, lastWarning)
	return true
}

// begins notes a request without a quorum.
func (o *outage) begins(why error) {
	if o.requests.due() {
		o.on.Store(true)
		o.log.Warn("redlock: no quorum; it is tried again", "error", why)
	}
}

// leaves notes a key that a node could not be made to remove.
func (o *outage) leaves(name, node string, why error) {
	if o.keys.due() {
		o.log.Warn("redlock: key not removed; it expires", "name", name, "node", node, "error", why)
	}
}

// ends notes a request that had one.
func (o *outage) ends() {
	if o.on.Load() && o.on.Swap(false) {
		o.log.Info("redlock: a quorum answers again")
	}
}
