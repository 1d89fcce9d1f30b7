package redlock

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	// pollEvery is how often the first waiter of a lock asks at most while somebody has
	// it and no release is told, give or take a quarter. It asks earlier only when enough
	// keys must have expired.
	pollEvery = time.Second
	// pollsPerSecond bounds how often the waiters of all locks do so together, if
	// releases are told.
	pollsPerSecond = 4
	// firstSplit and maxSplit bound the random wait after several have taken the lock
	// from each other, each with some of the nodes.
	firstSplit = 2 * time.Millisecond
	maxSplit   = 100 * time.Millisecond
	// pollJitter is the share of the remaining TTL by which waiters are spread.
	pollJitter = 10
	// patience is how many times as long as the last answers took an attempt waits.
	patience = 2
)

// lock tries until it succeeds.
func (m *Mutex) lock(ctx context.Context, c *call) (h *Hold, err error) {
	hub := m.nodes.hub
	w := hub.join(m)
	if w == nil {
		return nil, ErrClosed
	}
	defer func() { hub.leave(w, h != nil) }()
	timeout := m.cfg.timeout
	for {
		ok, last := m.await(ctx, w, c)
		if !ok {
			return nil, ended(ctx, last)
		}
		timeout = m.patience(timeout)
		h, r, err := m.attempt(ctx, c, timeout)
		switch {
		case h != nil:
			return h, nil
		case errors.Is(err, errLate):
			w.remember(r)
			hub.asked(ctx, w, nil, err)
		case err != nil && ctx.Err() != nil && last != nil:
			return nil, ended(ctx, last)
		case err != nil:
			return nil, err
		case r.hopeless():
			return nil, r.failure()
		default:
			hub.asked(ctx, w, r, r.reason())
			if r.unreachable() {
				timeout *= patience
			}
		}
	}
}

// patience is how long the next attempt waits for each node, which may be slower than the
// node timeout.
func (m *Mutex) patience(last time.Duration) time.Duration {
	took := time.Duration(m.nodes.took.Load())
	return min(max(last, patience*took), max(m.cfg.timeout, m.cfg.ttl/roundsPerTTL))
}

// await waits until w is to ask, and reports whether ctx is still going. last says why the
// lock could not be had so far, nil if nothing stood in the way.
func (m *Mutex) await(ctx context.Context, w *waiter, c *call) (ok bool, last error) {
	for {
		d, why := m.nodes.hub.turn(w)
		if d == 0 || ctx.Err() != nil {
			return ctx.Err() == nil, why
		}
		if why == nil {
			why = &LockedError{Name: m.name, Key: m.key} // for another call of this process
		}
		c.waiting(why)
		w.wait(ctx, d)
		if ctx.Err() != nil {
			return false, why
		}
	}
}

// wait waits for d, for ever if that is negative, or until w is told something or ctx ends.
func (w *waiter) wait(ctx context.Context, d time.Duration) {
	var elapsed <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		elapsed = timer.C
	}
	select {
	case <-w.signal:
	case <-elapsed:
	case <-ctx.Done():
	}
}

// pacer decides how long to wait after a failed attempt.
type pacer struct{ outage, split time.Duration }

// pause returns how long to wait for a release after round r, which is nil if a quorum
// came too late.
func (p *pacer) pause(r *round, poll time.Duration) time.Duration {
	switch {
	case r == nil || r.unreachable():
		p.outage = min(max(2*p.outage, firstPause), maxPause)
		return jitter(p.outage)
	case !r.held():
		p.split = min(max(2*p.split, firstSplit), maxSplit)
		return time.Duration(rand.Float64() * float64(p.split))
	}
	p.outage, p.split = 0, 0
	pause := jitter(poll)
	if left := r.remaining(); left > 0 && left < pause {
		return expiry(left)
	}
	return pause
}

// expiry is how long to wait for keys that live for so long: Redis deletes what has expired
// in the millisecond after.
func expiry(left time.Duration) time.Duration {
	return left + time.Millisecond + time.Duration(rand.Float64()*float64(left/pollJitter))
}
