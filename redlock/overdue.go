package redlock

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// overdues ends rounds whose time is over. One timer does for all of them: one for each
// would be a good part of what a round costs.
type overdues struct {
	mu     sync.Mutex
	rounds list.List   // the first to end is first
	timer  *time.Timer // nil before there was a round
	fires  time.Time   // when it will; maybe for a round that is over. Zero if it will not.
}

// add lets r end at due. As a rule all rounds have the same time, and the last to begin is
// the last to end.
func (o *overdues) add(r *round, due time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r.due = due
	before := o.rounds.Back()
	for before != nil && roundOf(before).due.After(due) {
		before = before.Prev()
	}
	if before == nil {
		r.place = o.rounds.PushFront(r)
	} else {
		r.place = o.rounds.InsertAfter(r, before)
	}
	if o.fires.IsZero() || due.Before(o.fires) {
		o.arm(due)
	}
}

func roundOf(e *list.Element) *round {
	r, _ := e.Value.(*round)
	return r
}

// arm lets the timer fire at due. mu must be held.
func (o *overdues) arm(due time.Time) {
	o.fires = due
	if o.timer == nil {
		o.timer = time.AfterFunc(time.Until(due), o.sweep)
		return
	}
	o.timer.Reset(time.Until(due))
}

// remove takes out a round that is over, if it is there.
func (o *overdues) remove(r *round) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.place != nil {
		o.rounds.Remove(r.place)
	}
}

// sweep ends what is overdue.
func (o *overdues) sweep() {
	for r := o.next(); r != nil; r = o.next() {
		if more := r.overdue(); !more.IsZero() {
			o.add(r, more)
		}
	}
}

// next takes out a round that is overdue, or arms the timer for the next that will be.
func (o *overdues) next() *round {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := o.rounds.Front()
	if first == nil {
		o.fires = time.Time{}
		return nil
	}
	r := roundOf(first)
	if time.Until(r.due) > 0 {
		o.arm(r.due)
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
