package shard

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// A claim is a shard that the plan gives to the member, or that it owns still. It has a
// goroutine, which ends with it.
//
//	           ┌──────────────────── lost ─────────────────────┐
//	           ▼                                               │
//	begin ─► asking ─► owning ─► leaving ─► releasing ─► still wanted? ─► gone
//	           ▲          │ │       │           ▲              │
//	           │          │ │       ▼           │              │ returned too early
//	           │          │ └───► ended ────────┤              ▼
//	           │          └─────────────────────┘           pausing
//	           └───────────────────────────────────────────────┘
//
// What the plan says only changes whether it is wanted. An asking or pausing one that is
// not wanted is gone at once; an owning one goes on until somebody waits for the shard. The
// planner is told of those that have ended, so that others get their shards.

// claimState is where a claim is in its life.
type claimState int

const (
	// asking: it waits in the lock's queue, or is about to.
	asking claimState = iota
	// owning: the function runs.
	owning
	// leaving: the function runs, and was told to leave.
	leaving
	// ended: the function runs though the shard was lost a moment ago, or its drain time is
	// over and the lock is given up.
	ended
	// releasing: the function has returned, and the lock is being given up.
	releasing
	// pausing: the function has returned before its time.
	pausing
)

const (
	// firstRest and lastRest bound the pause of a claim whose function has returned
	// before its time.
	firstRest = 100 * time.Millisecond
	lastRest  = 10 * time.Second
	// askers is how many claims ask at a time: each becomes an owner, or has asked for
	// askPatience, before another begins. Of a thousand that ask at once the last would come
	// to hear of its turn half a second after it is in the queue, when the owner before has
	// left.
	askers      = 16
	askPatience = 500 * time.Millisecond
	// parting is how long a function may take to return after its shard was lost, before that
	// is told.
	parting = time.Second
	// releaseTimeout is how long a release is waited for; after that it goes on in the
	// background.
	releaseTimeout = 5 * time.Second
)

type claim struct {
	m     *Member
	id    ID
	mutex *lock.Mutex
	rest  time.Duration // what the next pause takes

	// The fields below are protected by the member's mu.

	state  claimState
	wanted bool
	// stop ends what an asking or pausing claim waits for, and does nothing before.
	stop context.CancelFunc
	// o is the ownership while there is one, and told is when it was told to leave. timer ends
	// its drain time, or what it has to return after a loss, of which heard hears.
	o     *Ownership
	told  time.Time
	timer *time.Timer
	heard func() bool
}

// become is the only place where the state changes. The member's mu must be held.
func (c *claim) become(s claimState) {
	c.m.count(c, -1)
	if (s == ended) != (c.state == ended) {
		c.m.report()
	}
	c.state = s
	c.m.count(c, +1)
	c.m.signal()
}

// keep notes that the plan gives the shard to the member. The member's mu must be held.
func (c *claim) keep() {
	if !c.wanted {
		c.wanted = true
		c.m.count(c, +1)
	}
}

// drop notes that it does not. The member's mu must be held.
func (c *claim) drop() {
	if !c.wanted {
		return
	}
	c.m.count(c, -1)
	c.wanted = false
	if c.state == asking || c.state == pausing {
		c.stop()
	}
}

// run is the claim's goroutine.
func (c *claim) run() {
	for {
		ctx, since, ok := c.ask()
		if !ok {
			return
		}
		hold, err := c.lock(ctx)
		refused := err != nil && ctx.Err() == nil
		c.asked()
		switch {
		case errors.Is(err, lease.ErrClosed):
			c.m.abandon(c)
			return
		case refused:
			c.m.log.Warn("shard: asking for a shard failed", "shard", c.id, "error", err)
			c.pause()
		case err == nil:
			c.serve(hold, since)
		}
	}
}

// lock asks for the lock, when it is the claim's turn. Who waits for a slow owner keeps no
// other waiting.
func (c *claim) lock(ctx context.Context) (*lock.Hold, error) {
	select {
	case c.m.asking <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	var once sync.Once
	next := func() { once.Do(func() { <-c.m.asking }) }
	timer := time.AfterFunc(askPatience, next)
	defer next()
	defer timer.Stop()
	return c.mutex.Lock(ctx)
}

// ask makes the claim ask for its shard, unless that is not wanted any more: then it is
// gone.
func (c *claim) ask() (ctx context.Context, since time.Time, ok bool) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if !c.wanted {
		c.m.remove(c)
		return nil, time.Time{}, false
	}
	ctx, c.stop = context.WithCancel(c.m.life)
	c.become(asking)
	return ctx, time.Now(), true
}

// asked ends what ask has begun.
func (c *claim) asked() {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.stop()
}

// pause waits before the claim asks again, twice as long each time.
func (c *claim) pause() {
	c.m.mu.Lock()
	ctx, stop := context.WithCancel(c.m.life)
	defer stop()
	if c.stop = stop; !c.wanted {
		stop()
	}
	c.become(pausing)
	c.m.mu.Unlock()
	sleep(ctx, c.rest)
	c.rest = min(2*c.rest, lastRest)
}

// serve calls the function for as long as the member owns the shard, and then does what is to be
// done after that. If the function ends the goroutine, the claim goes on with another.
func (c *claim) serve(hold *lock.Hold, since time.Time) {
	o := c.begin(hold)
	tell(c.m.cfg.observer.Acquired, c.event(o, o.began.Sub(since), nil))
	returned := false
	defer func() {
		if !returned { // by runtime.Goexit
			c.m.work.Go(func() {
				c.served(o, since, errGoexit)
				c.run()
			})
		}
	}()
	err := o.call(c.m.own)
	returned = true
	c.served(o, since, err)
}

// served releases a shard whose function has returned err, and pauses if that was before its
// time.
func (c *claim) served(o *Ownership, since time.Time, err error) {
	told, over := c.returned()
	failure := o.outcome(err, told)
	early := !told && o.Err() == nil
	o.cancel(ErrReleased)
	released := time.Now()
	if err := c.release(o); err == nil && !over {
		c.m.released(time.Since(released))
	}
	if early || err != nil && !errors.Is(err, context.Canceled) {
		c.m.log.Warn("shard: function failed", "shard", c.id, "token", o.Token(), "error", failure)
	}
	if !over {
		if told {
			<-o.told // the observer hears of the release after that
		}
		tell(c.m.cfg.observer.Released, c.event(o, time.Since(o.began), failure))
	}
	if time.Since(since) > lastRest {
		c.rest = firstRest
	}
	if early {
		c.pause()
	}
}

func (c *claim) begin(hold *lock.Hold) *Ownership {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.o = newOwnership(c.id, hold)
	if c.m.life.Err() != nil {
		c.o.cancel(errMemberClosed)
	}
	c.become(owning)
	if !c.wanted {
		c.m.wake()
	}
	o := c.o
	c.heard = context.AfterFunc(o.ctx, func() { c.lost(o) })
	return o
}

// returned notes that the function has, and reports whether it was told to leave, and
// whether the ownership is over since then.
func (c *claim) returned() (told, over bool) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	told, over = c.state != owning, c.state == ended
	c.heard()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.o, c.timer = nil, nil
	c.become(releasing)
	return told, over
}

// release gives the lock up. What cannot be confirmed in time the session finishes.
func (c *claim) release(o *Ownership) error {
	ctx, cancel := context.WithTimeout(c.m.last, releaseTimeout)
	defer cancel()
	err := o.hold.Unlock(ctx)
	if err != nil && !errors.Is(err, ErrLost) {
		c.m.log.Warn("shard: release not confirmed", "shard", c.id, "token", o.Token(), "error", err)
	}
	return err
}

// leave tells an owner to leave. The member's mu must be held; then call tellLeft without it.
func (c *claim) leave() {
	o := c.o
	c.become(leaving)
	c.told = time.Now()
	c.m.progress = c.told
	close(o.leaving)
	c.timer = time.AfterFunc(c.m.cfg.drain, func() {
		if c.expire(o, ErrDrainTimeout) {
			c.m.log.Warn("shard: function has not returned within the drain time; the shard is given up", "shard", c.id, "token", o.Token())
		}
	})
	c.m.left = append(c.m.left, leaver{c, o})
}

// leaver is an owner who was told to leave.
type leaver struct {
	*claim

	o *Ownership
}

// tellLeft tells the observer of the owners who were told to leave.
func (m *Member) tellLeft() {
	m.mu.Lock()
	left := m.left
	m.left = nil
	m.mu.Unlock()
	for _, l := range left {
		tell(m.cfg.observer.Leaving, l.event(l.o, time.Since(l.o.began), nil))
		close(l.o.told)
	}
}

// lost gives the function of an ownership that has ended a moment to return.
func (c *claim) lost(o *Ownership) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if c.o != o || c.state == ended {
		return
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	c.timer = time.AfterFunc(parting, func() {
		if c.expire(o, context.Cause(o.ctx)) {
			c.m.log.Warn("shard: function has not returned though its shard was lost; another member is to take it", "shard", c.id, "token", o.Token(), "error", context.Cause(o.ctx))
		}
	})
}

// expire ends an ownership whose function has not returned in time, and reports whether it
// was so.
func (c *claim) expire(o *Ownership, cause error) bool {
	c.m.mu.Lock()
	if c.o != o || c.state == ended {
		c.m.mu.Unlock()
		return false
	}
	told := c.state == leaving
	c.become(ended)
	c.m.mu.Unlock()
	o.cancel(cause)
	_ = c.release(o) // it has said so
	if told {
		<-o.told // as above
	}
	tell(c.m.cfg.observer.Released, c.event(o, time.Since(o.began), cause))
	return true
}

func (c *claim) event(o *Ownership, took time.Duration, err error) Event {
	return Event{Group: c.m.keys.group, Member: c.m.name, Shard: c.id, Token: o.Token(), Took: took, Err: err}
}
