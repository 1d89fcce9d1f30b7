package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Property is what a lock may promise.
type Property string

// The properties, as DESIGN and the packages' documentation name them.
const (
	S1 Property = "S1" // at every revision one owner, the oldest entry
	S2 Property = "S2" // tokens increase in the order of grants
	S3 Property = "S3" // no two holders before their deadlines
	S4 Property = "S4" // no guarded transaction after the entry is gone
	S5 Property = "S5" // no older token accepted after a newer one
	L  Property = "L"  // the next is granted in time
	// Live is that the lock goes on at all once the faults are over, and that no worker ends
	// that was not to.
	Live Property = "live"
	// Real is that who is granted the lock has an entry: no phantom.
	Real Property = "real"
	// InTime is that a hold does not say that it is valid after its own deadline.
	InTime Property = "in time"
	// Kept is that no hold is lost that nobody took away.
	Kept Property = "kept"
	// Spec is that whoever takes the lock makes only steps that package spec allows.
	Spec Property = "spec"
	// Order is that a lock with expiry could have done the same, one thing at a time.
	Order Property = "order"
)

// Finding is a break of a property.
type Finding struct {
	Property Property `json:"property"`
	At       int64    `json:"at"`
	Text     string   `json:"text"`
}

// Result is what the checkers found.
type Result struct {
	Findings []Finding `json:"findings,omitempty"`
	// Grants is how often the lock was granted, Writes how many writes of each way
	// were accepted, Refused how many were not, Lost how many were overwritten unseen.
	Grants  int         `json:"grants"`
	Writes  map[Way]int `json:"writes,omitempty"`
	Refused map[Way]int `json:"refused,omitempty"`
	Lost    map[Way]int `json:"lost,omitempty"`
	// Recoveries are the times from the death of a holder to the next grant.
	Recoveries []time.Duration `json:"recoveries,omitempty"`
	// Late are how long after the grant of the next the holder still said it was valid.
	Late []time.Duration `json:"late,omitempty"`
	// Rounds is how often the lock was granted while faults of the servers lasted under
	// which nobody was asked to keep it, and Free how long those were; Losses is how often
	// a holder was told of its loss, also where that is nothing to complain of.
	Rounds int           `json:"rounds,omitempty"`
	Free   time.Duration `json:"free,omitempty"`
	Losses int           `json:"losses,omitempty"`
	// Notes say what could not be checked.
	Notes []string `json:"notes,omitempty"`
	// Order is porcupine's picture of the search, if it found no legal order.
	Order string `json:"-"`
}

// Rules are what Check has to know of the lock.
type Rules struct {
	// TTL bounds L: a recovery takes that and a second at most; 0 checks nothing.
	TTL time.Duration
	// Tokens is set if holds have tokens.
	Tokens bool
	// Kept is set if no hold may be lost.
	Kept bool
	// Planned is set if somebody else has to ask for the lock when a holder has died: the
	// time of L is then from the death, not from when the next has asked.
	Planned bool
	// Late is by how much the machine was late from one time to another, which is
	// allowed on top; nil is never.
	Late func(from, to int64) time.Duration
}

// Check runs all checkers over what happened to one lock.
func Check(events []Event, rules Rules) Result {
	holds := Holds(events)
	r := Result{Grants: len(holds), Writes: map[Way]int{}, Refused: map[Way]int{}, Lost: map[Way]int{}}
	r.sweep(holds)
	if rules.Tokens {
		r.tokens(holds)
		r.ledger(events, holds)
		r.handovers(events, holds, rules)
	}
	r.resource(events)
	r.plain(events)
	r.recoveries(events, holds, rules)
	r.losses(events, holds, rules)
	r.order(events, holds)
	r.departures(events)
	r.exits(events)
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return cmp.Compare(a.At, b.At) })
	return r
}

// departures are steps that the specification does not allow.
func (r *Result) departures(events []Event) {
	for _, e := range events {
		if e.Kind == Left {
			r.found(Spec, e.At, "%s", e.Detail)
		}
	}
}

// exits are workers that were not to end, or not like that.
func (r *Result) exits(events []Event) {
	for _, e := range events {
		if e.Kind == Exited && e.Detail != "" {
			r.found(Live, e.At, "%s", e.Detail)
		}
	}
}

// Add adds what was found in another lock. What is about both was found in both.
func (r *Result) Add(o Result) {
	for _, f := range o.Findings {
		if !slices.Contains(r.Findings, f) {
			r.Findings = append(r.Findings, f)
		}
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return cmp.Compare(a.At, b.At) })
	r.Grants += o.Grants
	for sums, more := range map[*map[Way]int]map[Way]int{&r.Writes: o.Writes, &r.Refused: o.Refused, &r.Lost: o.Lost} {
		if *sums == nil {
			*sums = make(map[Way]int)
		}
		for way, n := range more {
			(*sums)[way] += n
		}
	}
	r.Recoveries = append(r.Recoveries, o.Recoveries...)
	slices.Sort(r.Recoveries)
	r.Late = append(r.Late, o.Late...)
	r.Rounds += o.Rounds
	r.Free = max(r.Free, o.Free)
	r.Losses += o.Losses
	r.Notes = append(r.Notes, o.Notes...)
	r.Order = cmp.Or(r.Order, o.Order)
}

// found notes a break.
func (r *Result) found(p Property, at int64, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{Property: p, At: at, Text: fmt.Sprintf(format, args...)})
}

// Broken reports whether a property was broken.
func (r *Result) Broken(p Property) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Property == p })
}
