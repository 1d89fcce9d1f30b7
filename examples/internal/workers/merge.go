package workers

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/conclave-go/conclave/internal/process"
)

// Lag is for how long an event is kept back, so that those of other processes that
// happened before it can arrive before it is passed on.
const Lag = 60 * time.Millisecond

// Event is what workers report.
type Event interface {
	// Time is when it happened, see [process.Now].
	Time() int64
}

// Merger puts the events of several processes in the order of their times. Use
// NewMerger.
type Merger[E Event] struct {
	in   chan E
	out  chan E
	done chan struct{} // closed by the consumer when it wants no more
}

// NewMerger returns a merger, which has to be stopped.
func NewMerger[E Event]() *Merger[E] {
	m := &Merger[E]{in: make(chan E), out: make(chan E), done: make(chan struct{})}
	go m.run() // ends with done
	return m
}

// Add takes an event, unless the merger has been stopped.
func (m *Merger[E]) Add(e E) {
	select {
	case m.in <- e:
	case <-m.done:
	}
}

// Out is where the events come out. It is never closed.
func (m *Merger[E]) Out() <-chan E { return m.out }

// Drain takes events until done.
func (m *Merger[E]) Drain(ctx context.Context, take func(E), done func() bool) error {
	for !done() {
		select {
		case e := <-m.out:
			take(e)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Stop lets those go who wait in Add. It may be called once.
func (m *Merger[E]) Stop() { close(m.done) }

func (m *Merger[E]) run() {
	var pending []E
	tick := time.NewTicker(Lag / 6)
	defer tick.Stop()
	for {
		var out chan E
		var next E
		if len(pending) > 0 && process.Now()-pending[0].Time() > int64(Lag) {
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
func insert[E Event](events []E, e E) []E {
	i, _ := slices.BinarySearchFunc(events, e.Time()+1, func(x E, at int64) int { return cmp.Compare(x.Time(), at) })
	return slices.Insert(events, i, e)
}
