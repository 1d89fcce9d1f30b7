package redlock

import "sync"

// admission lets acquisitions and releases begin only while a quorum of the nodes has
// connections for them, so that a crowd waits here, where that takes nothing from their
// time, rather than for the clients: there it would make nodes look silent, and stand in the
// way of renewals. A node that is behind is not asked while the others are a quorum.
type admission struct {
	nodes *Nodes

	mu    sync.Mutex
	calls []int    // by node, under way
	queue []*round // who came first is first
}

// enter starts r, or lets it wait for its turn.
func (a *admission) enter(r *round) {
	a.mu.Lock()
	if len(a.queue) > 0 || !a.admit(r) {
		a.nodes.begin() // Close waits
		a.queue = append(a.queue, r)
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	r.launch()
}

// admit reserves a call at each node that r may ask, if these are a quorum. mu must be held.
func (a *admission) admit(r *round) bool {
	asks := make([]bool, len(a.calls))
	n := 0
	for i := range asks {
		if a.room(i) {
			asks[i] = true
			n++
		}
	}
	if n < a.nodes.quorum() {
		return false
	}
	for i := range asks {
		if asks[i] {
			a.calls[i]++
		}
	}
	r.asks = asks
	return true
}

// try reserves a call at node i.
func (a *admission) try(i int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.room(i) {
		return false
	}
	a.calls[i]++
	return true
}

// room reports whether node i may be asked. One that does not answer may: the call ends at
// once, or shows that it answers again. mu must be held.
func (a *admission) room(i int) bool {
	return a.calls[i] < a.nodes.list[i].limit || a.nodes.list[i].isSilent()
}

// leave notes that a call at node i has ended.
func (a *admission) leave(i int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls[i]--
	a.next()
}

// look lets those begin that need not wait any more.
func (a *admission) look() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next()
}

// next starts who may begin, on a goroutine of its own, since this one may belong to a
// round that is locked. mu must be held.
func (a *admission) next() {
	for len(a.queue) > 0 && a.admit(a.queue[0]) {
		r := a.queue[0]
		a.queue[0] = nil
		a.queue = a.queue[1:]
		go func() {
			defer a.nodes.end()
			r.launch()
		}()
	}
}
