package redlock

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/conclave-go/conclave/internal/clock"
)

const (
	// firstPause and maxPause bound the wait between attempts on a node that fails:
	// a refused connection fails within microseconds.
	firstPause = 20 * time.Millisecond
	maxPause   = time.Second
	// minTombstone is how long a tombstone lives at least. A request that nobody waits
	// for any more is held up by its client for its read timeout, five seconds by
	// default, and by the network for as long as that retransmits. One that comes
	// later still leaves a key for one TTL at most.
	minTombstone = 30 * time.Second
	// noTombstone is the TTL of no tombstone.
	noTombstone = "0"
)

// remove ends the claim: nothing is written any more, and what may be on the nodes is
// deleted, in the background until it has succeeded or the keys have expired. The round
// is decided by the first attempts.
func (c *claim) remove(ctx context.Context) *round {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	r := newRound(ctx, c, task{op: opRelease, request: c.removal(noTombstone), judge: judgeExtend, at: (*claim).removeAt}, c.m.cfg.timeout)
	c.m.nodes.removing()
	r.begin()
	return r
}

// removal is the request that leaves a tombstone for so long.
func (c *claim) removal(tombstone string) request {
	keys := c.keys[:]
	if tombstone == noTombstone {
		keys = keys[:1]
	}
	return releaseScript.request(keys, [3]string{c.token, c.m.channel, tombstone})
}

// abandon removes a claim that came to nothing.
func (c *claim) abandon(ctx context.Context) {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	for i := range c.lanes {
		if !c.clean(i) {
			c.remove(ctx)
			return
		}
	}
}

// clean reports whether node i cannot have the key.
func (c *claim) clean(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lanes[i].pending == 0 && !c.lanes[i].present
}

// removeAt removes the claim from node i, and answers with the first attempt.
func (c *claim) removeAt(r *round, i int) {
	var a answer
	if c.awaitIdle(i) {
		a = c.deleteAt(&r.ctx, r, i)
	} else {
		a = c.deleteAgain(r, i) // some of the round's time is over
	}
	r.answer(i, a)
	for pause := firstPause; a.state == NodeFailed; pause = min(2*pause, maxPause) {
		if !c.pause(pause) {
			c.m.nodes.outage.leaves(c.m.name, c.m.nodes.list[i].name, a.err)
			return
		}
		a = c.deleteAgain(r, i)
	}
}

// awaitIdle waits, for the node timeout at most, until no acquisition is under way at
// node i: as a rule one that was not needed for the quorum, and is there in no time. It
// reports whether there was none.
func (c *claim) awaitIdle(i int) bool {
	c.mu.Lock()
	l := &c.lanes[i]
	if l.pending == 0 {
		c.mu.Unlock()
		return true
	}
	if l.idle == nil {
		l.idle = make(chan struct{})
	}
	idle := l.idle
	c.mu.Unlock()
	timer := time.NewTimer(c.m.cfg.timeout)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
	return false
}

// deleteAgain is deleteAt with a timeout of its own.
func (c *claim) deleteAgain(r *round, i int) answer {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx.Context), c.m.callTimeout())
	defer cancel()
	return c.deleteAt(ctx, r, i)
}

// deleteAt makes one attempt, with a tombstone if an acquisition may still arrive.
func (c *claim) deleteAt(ctx context.Context, r *round, i int) answer {
	if c.clean(i) { // the acquisition that was under way has not set it
		return answer{state: NodeMissing}
	}
	if !r.reserve(i) {
		return answer{state: NodeFailed, err: errBusy}
	}
	defer r.free(i)
	q := r.request
	if ttl := c.tombstoneTTL(i); ttl != noTombstone {
		q = c.removal(ttl)
	}
	reply, certain, err := r.ask(ctx, i, releaseScript, q)
	a, mute := released(reply, err)
	if a.state == NodeGranted {
		c.m.nodes.publishes(i, mute)
	}
	if a.state == NodeMissing && !certain {
		a.state = NodeGranted // by the first of two requests
	}
	return a
}

// tombstoneTTL is that of a tombstone for node i.
func (c *claim) tombstoneTTL(i int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.lanes[i]; l.pending == 0 && !l.doubt {
		return noTombstone
	}
	return millis(max(c.m.cfg.ttl+c.m.cfg.timeout, minTombstone))
}

// pause waits before the next attempt, and reports whether there should be one.
func (c *claim) pause(d time.Duration) bool {
	c.mu.Lock()
	left := clock.Until(c.until)
	c.mu.Unlock()
	if left <= 0 {
		return false
	}
	timer := time.NewTimer(jitter(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.m.nodes.abort:
		return false
	}
}

// jitter is d, give or take a quarter, so that clients hit by one outage do not come
// back in step.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)/2*float64(d))
}
