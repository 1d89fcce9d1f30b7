package redlock

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	// pollEvery is how often a waiter asks at most while somebody has the lock and no
	// release is told, give or take a quarter. It asks earlier only when enough keys
	// must have expired.
	pollEvery = time.Second
	// firstSplit and maxSplit bound the random wait after several have taken the lock
	// from each other, each with some of the nodes.
	firstSplit = 2 * time.Millisecond
	maxSplit   = 100 * time.Millisecond
)

// lock tries until it succeeds.
func (m *Mutex) lock(ctx context.Context, c *call) (*Hold, error) {
	w := m.nodes.hub.joinIfKnown(m)
	defer func() { m.nodes.hub.leave(w) }()
	var p pacer
	for {
		h, r, err := m.attempt(ctx, c)
		w.asked(err)
		switch {
		case h != nil:
			return h, nil
		case errors.Is(err, errLate):
			p.last = err
		case err != nil:
			if ctx.Err() != nil {
				err = ended(ctx, p.last)
			}
			return nil, err
		case r.hopeless():
			return nil, r.failure()
		default:
			p.last = m.reason(r)
		}
		c.waiting(p.last)
		if w == nil && r != nil && !r.unreachable() {
			var told bool
			if w, told = m.nodes.hub.join(ctx, m); told {
				continue // it may have been released before
			}
		}
		if !w.wait(ctx, p.pause(r)) {
			return nil, ended(ctx, p.last)
		}
	}
}

// reason says why an attempt failed.
func (m *Mutex) reason(r *round) error {
	if r.unreachable() {
		return r.failure()
	}
	return &LockedError{Name: m.name, Remaining: r.remaining()}
}

// pacer decides how long to wait after a failed attempt.
type pacer struct {
	last   error
	outage time.Duration
	split  time.Duration
}

// pause returns how long to wait for a release after round r, which is nil if a quorum
// came too late.
func (p *pacer) pause(r *round) time.Duration {
	switch {
	case r == nil || r.unreachable():
		p.outage = min(max(2*p.outage, firstPause), maxPause)
		return jitter(p.outage)
	case !r.held():
		p.split = min(max(2*p.split, firstSplit), maxSplit)
		return time.Duration(rand.Float64() * float64(p.split))
	}
	p.outage, p.split = 0, 0
	if left := r.remaining(); left > 0 && left < pollEvery {
		// Redis deletes what has expired in the millisecond after.
		return left + time.Millisecond + time.Duration(rand.Float64()*float64(left/pollJitter))
	}
	return jitter(pollEvery)
}

// pollJitter is the share of the remaining TTL by which waiters are spread.
const pollJitter = 10

// asked notes what came of an attempt: unless that failed, a wake-up has served its
// purpose.
func (w *waiter) asked(err error) {
	if w != nil && err == nil {
		w.owes = false
	}
}

// wait waits for d, or less if the waiter is woken, and reports whether ctx is still
// going. A nil waiter is never woken.
func (w *waiter) wait(ctx context.Context, d time.Duration) bool {
	var woken chan struct{}
	if w != nil {
		woken = w.woken
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-woken:
		w.owes = true
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
