package queue

import "weak"

// Collected returns a function that reports whether the grant's entry is no longer in memory.
func Collected(g *Grant) func() bool {
	p := weak.Make(g.entry)
	return func() bool { return p.Value() == nil }
}
