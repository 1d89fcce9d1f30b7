package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/timeline"
)

// tenure is the time for which a copy had the lock, as far as its Hold could tell it: to
// the deadline if that was before it stopped. While it lasts, until is zero.
type tenure struct {
	copy        string
	from, until time.Time
}

// handOvers returns how long nobody had the lock between two copies, of those that were
// granted it after a time.
func handOvers(tenures []tenure, since time.Time) (took []time.Duration) {
	all := inOrder(tenures)
	for i := 1; i < len(all); i++ {
		if a, b := all[i-1], all[i]; a.copy != b.copy && a.from.After(since) && !a.until.After(b.from) {
			took = append(took, b.from.Sub(a.until))
		}
	}
	return took
}

// together returns for how long, in all, two or more had the lock. Tenures that have not ended
// are not counted.
func together(tenures []tenure) (sum time.Duration) {
	var lanes []timeline.Lane
	all := inOrder(tenures)
	for _, t := range all {
		if !t.until.IsZero() {
			bar := timeline.Bar{From: t.from.Sub(all[0].from), To: t.until.Sub(all[0].from)}
			lanes = append(lanes, timeline.Lane{Name: t.copy, Bars: []timeline.Bar{bar}})
		}
	}
	for _, o := range timeline.Overlaps(lanes, 0) {
		sum += o.To - o.From
	}
	return sum
}

func inOrder(tenures []tenure) []tenure {
	return slices.SortedFunc(slices.Values(tenures), func(a, b tenure) int { return a.from.Compare(b.from) })
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// verdict is the outcome of an act.
type verdict struct {
	expected bool // that it breaks
	together time.Duration
	invoices int
	twice    int // numbers that were given again
}

// judge looks at who had the lock when, and at the invoices.
func judge(expected bool, tenures []tenure, invoices string) verdict {
	all := strings.Fields(invoices)
	slices.SortFunc(all, cmp.Compare)
	return verdict{expected, together(tenures), len(all), len(all) - len(slices.Compact(all))}
}

func (v verdict) broken() bool { return v.together > 0 || v.twice > 0 }

// word is the verdict in a word or two.
func (v verdict) word() string {
	switch {
	case !v.broken() && v.expected:
		return "held, though it was to break here"
	case !v.broken():
		return "held"
	case !v.expected:
		return "BROKEN, and must not be"
	}
	return "broken, as documented"
}

// String says it in a sentence.
func (v verdict) String() string {
	if !v.broken() {
		return fmt.Sprintf("%s: never two holders, and none of %d numbers was given twice", v.word(), v.invoices)
	}
	how := "a write came too late"
	if v.together > 0 {
		how = "two holders for " + screen.Short(v.together)
	}
	if v.twice > 0 {
		how += fmt.Sprintf(", and %d of %d numbers given twice", v.twice, v.invoices)
	}
	return v.word() + ": " + how
}
