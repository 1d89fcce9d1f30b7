package workers

import "slices"

// Roster is what is known of each worker, in the order in which they were named. Use
// NewRoster.
type Roster[M any] struct {
	names []string
	all   []*M
}

// NewRoster returns the roster of workers of which nothing is known but their names.
func NewRoster[M any](names []string, fresh func(name string) *M) Roster[M] {
	r := Roster[M]{names: names}
	for _, name := range names {
		r.all = append(r.all, fresh(name))
	}
	return r
}

// All returns what is known of each.
func (r Roster[M]) All() []*M { return r.all }

// Find returns what is known of one. What is noted of anybody else is forgotten.
func (r Roster[M]) Find(name string) *M {
	if i := slices.Index(r.names, name); i >= 0 {
		return r.all[i]
	}
	return new(M)
}

// Count returns how many are as is asked.
func (r Roster[M]) Count(are func(*M) bool) (n int) {
	for _, m := range r.all {
		if are(m) {
			n++
		}
	}
	return n
}

// Clone returns a copy of all that is known.
func (r Roster[M]) Clone() Roster[M] {
	c := Roster[M]{names: r.names}
	for _, m := range r.all {
		copied := *m
		c.all = append(c.all, &copied)
	}
	return c
}
