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

// outage tells the log that nodes are no quorum: at once, and then with growing distance,
// however many ask them; and that they are again.
type outage struct {
	log *slog.Logger
	on  atomic.Bool

	mu       sync.Mutex
	next     time.Time // no line before
	distance time.Duration
}

// begins notes a request without a quorum.
func (o *outage) begins(why error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if now.Before(o.next) {
		return
	}
	if !o.on.Swap(true) {
		o.distance = firstWarning
	}
	o.next, o.distance = now.Add(o.distance), min(2*o.distance, lastWarning)
	o.log.Warn("redlock: no quorum; it is tried again", "error", why)
}

// ends notes a request that had one.
func (o *outage) ends() {
	if o.on.Load() && o.on.Swap(false) {
		o.log.Info("redlock: a quorum answers again")
	}
}
