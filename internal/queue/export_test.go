package queue

import (
	"maps"
	"slices"
	"time"
	"weak"

	"github.com/conclave-go/conclave/lease"
)

// Collected returns a function that reports whether the grant's entry is no longer in memory.
func Collected(g *Grant) func() bool {
	p := weak.Make(g.entry)
	return func() bool { return p.Value() == nil }
}

// HoldOpenings keeps the entries of a session from opening watches, until it is told not to.
func HoldOpenings(s *lease.Session) (release func()) {
	c := crowdOf(s)
	for range maxOpening {
		c.opening <- struct{}{}
	}
	return func() {
		for range maxOpening {
			<-c.opening
		}
	}
}

// WaitingNow returns a function that says how many of those entries of a session that wait now
// have been taken for owners.
func WaitingNow(s *lease.Session) (owned func() int) {
	c := crowdOf(s)
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.Collect(maps.Values(c.waiting))
	return func() (n int) {
		for _, e := range all {
			if e.hasOwned(e.created) {
				n++
			}
		}
		return n
	}
}

// MostWait is how long a part of a batch is gathered at most.
const MostWait = mostWait

// ReadLater reads the last entry that was created after a revision.
var ReadLater = readLater

// Gathered is a kind of transactions of a session that are gathered, since as many as may be
// are out, as far as it knows.
type Gathered struct{ b *batches }

// GatherEnqueues and GatherRemovals let nothing of a kind go out until Release.
func GatherEnqueues(s *lease.Session) Gathered { return gather(&crowdOf(s).enqueues) }
func GatherRemovals(s *lease.Session) Gathered { return gather(&crowdOf(s).removals) }

func gather(b *batches) Gathered {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out, b.wait = b.out+mostOut, time.Hour
	return Gathered{b}
}

// Asked returns how many are gathered.
func (g Gathered) Asked() int {
	g.b.mu.Lock()
	defer g.b.mu.Unlock()
	return len(g.b.asked)
}

// Out returns how many are out, without those that are not really.
func (g Gathered) Out() int {
	g.b.mu.Lock()
	defer g.b.mu.Unlock()
	return g.b.out
}

// Release lets one after the other go out, which is answered before the next: each takes
// with it what is gathered.
func (g Gathered) Release() {
	for range mostOut {
		g.b.done()
	}
}
