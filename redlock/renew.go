package redlock

import (
	"time"

	"github.com/conclave-go/conclave/internal/clock"
)

// pausesPerTTL sets the wait after a renewal that failed: with the default TTL half a
// second, and a dozen attempts before the deadline.
const pausesPerTTL = 20

// keep is the renewal, run by a timer: short holds start no goroutine for it. The timer
// that ends the hold is another one, because this may hang.
func (h *Hold) keep() {
	h.m.nodes.begin() // Close waits
	defer h.m.nodes.end()
	start := clock.Now()
	next := h.m.cfg.ttl / roundsPerTTL
	if err := h.Extend(h.ctx); err != nil {
		if h.Err() != nil {
			return
		}
		next = jitter(h.m.cfg.ttl / pausesPerTTL)
		h.m.nodes.cfg.log.Debug("redlock: renewal failed", "name", h.m.name, "remaining", h.Remaining(), "error", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		h.renew.Reset(max(next-clock.Now().Sub(start), time.Millisecond))
	}
}
