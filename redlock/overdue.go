package redlock

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// overdues ends rounds whose node timeout has passed. All have the same, so that the
// first to begin is the first to end, and one timer does for all of them: one for each
// would be a good part of what a round costs.
type overdues struct {
	timeout time.Duration

	mu     sync.Mutex
	rounds list.List   // in the order in which they began
	timer  *time.Timer // nil before there was a round
	armed  bool        // the timer will fire; maybe for a round that is over
}

// add lets r end when its time is over.
func (o *overdues) add(r *round) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r.place = o.rounds.PushBack(r)
	if !o.armed {
		o.arm(o.timeout)
	}
}

// arm lets the timer fire after d. mu must be held.
func (o *overdues) arm(d time.Duration) {
	o.armed = true
	if o.timer == nil {
		o.timer = time.AfterFunc(d, o.sweep)
		return
	}
	o.timer.Reset(d)
}

// remove takes out a round that is over, if it is there.
func (o *overdues) remove(r *round) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rounds.Remove(r.place)
}

// sweep ends what is overdue.
func (o *overdues) sweep() {
	for r := o.next(); r != nil; r = o.next() {
		r.overdue()
	}
}

// next takes out a round that is overdue, or arms the timer for the next that will be.
func (o *overdues) next() *round {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := o.rounds.Front()
	if first == nil {
		o.armed = false
		return nil
	}
	r, _ := first.Value.(*round)
	if left := o.timeout - time.Since(r.wall); left > 0 {
		o.arm(left)
		return nil
	}
	o.rounds.Remove(first)
	return r
}

// callContext is that of a round's calls. The round cancels it at the deadline, which
// it has for clients that heed those.
type callContext struct {
	context.Context
	deadline time.Time
}

// Deadline is the end of the round's time.
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, true }
