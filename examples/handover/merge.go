package main

import (
	"cmp"
	"slices"
	"time"
)

// lag is for how long an event is kept back, so that those of other processes that
// happened before it can arrive before it is passed on.
const lag = 60 * time.Millisecond

// merger puts the events of several processes in the order of their times.
type merger struct {
	in   chan event
	out  chan event
	done chan struct{} // closed by the consumer when it wants no more
}

func newMerger() *merger {
	m := &merger{in: make(chan event), out: make(chan event), done: make(chan struct{})}
	go m.run() // ends with done
	return m
}

// add takes an event, unless the merger has been closed.
func (m *merger) add(e event) {
	select {
	case m.in <- e:
	case <-m.done:
	}
}

func (m *merger) close() { close(m.done) }

func (m *merger) run() {
	var pending []event
	tick := time.NewTicker(lag / 6)
	defer tick.Stop()
	for {
		var out chan event
		var next event
		if len(pending) > 0 && now()-pending[0].At > int64(lag) {
			out, next = m.out, pending[0]
		}
		select {
		case <-m.done:
			return
		case e := <-m.in:
			pending = insert(pending, e)
		case out <- next:
			pending = pending[1:]
		case <-tick.C:
		}
	}
}

// insert keeps events sorted by time, and those of one time in order of arrival.
func insert(events []event, e event) []event {
	i, _ := slices.BinarySearchFunc(events, e.At+1, func(x event, at int64) int { return cmp.Compare(x.At, at) })
	return slices.Insert(events, i, e)
}
