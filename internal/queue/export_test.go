package queue

import (
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
	var all []*entry
	crowdOf(s).waiting.Range(func(_, found any) bool {
		if e, ok := found.(*entry); ok {
			all = append(all, e)
		}
		return true
	})
	return func() (n int) {
		for _, e := range all {
			if e.hasOwned(e.created) {
				n++
			}
		}
		return n
	}
}

// ReadLater reads the last entry that was created after a revision.
var ReadLater = readLater
