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
	next := h.untilRenewal()
	if next <= 0 {
		next = h.renewOnce()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		h.renew.Reset(clock.Now().Add(max(next, time.Millisecond)))
	}
}

// renewOnce extends the hold and returns how long to wait before the next renewal. After one
// that has had no answer that goes out soon, beside it; should the answer come after all,
// it is not needed.
func (h *Hold) renewOnce() time.Duration {
	start := clock.Now()
	err := h.Extend(h.ctx)
	if err == nil {
		return h.untilRenewal()
	}
	h.m.nodes.cfg.log.Debug("redlock: renewal failed", "name", h.m.name, "remaining", h.Remaining(), "error", err)
	return jitter(h.m.cfg.ttl/pausesPerTTL) - clock.Now().Sub(start)
}

// untilRenewal is how long it is until a third of the TTL has passed since the request that
// was confirmed last.
func (h *Hold) untilRenewal() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return clock.Until(h.until.Add(h.m.cfg.ttl/roundsPerTTL - h.m.validity()))
}
