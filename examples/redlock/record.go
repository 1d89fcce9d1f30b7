package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

// record is what an act is judged by at its end.
type record struct {
	tenures []*tenure
	written int // updates that workers wrote to the ledger
}

// tenure is how long a worker had the lock, as far as its Hold could tell it.
type tenure struct {
	worker string
	from   int64 // just after it was granted
	until  int64 // when it was given up or over; 0 while it lasts
}

// apply takes an event in. Those of one worker come in their order.
func (r *record) apply(e event) {
	switch e.Kind {
	case granted:
		r.tenures = append(r.tenures, &tenure{worker: e.Worker, from: e.At})
	case released, lost:
		if t := r.open(e.Worker); t != nil {
			t.until = min(e.At, e.Until)
		}
	case wrote:
		r.written++
	default: // of no tenure
	}
}

// open returns the tenure of a worker that lasts, or nil.
func (r *record) open(worker string) *tenure {
	for _, t := range r.tenures {
		if t.worker == worker && t.until == 0 {
			return t
		}
	}
	return nil
}

// grantsAfter returns how often the lock was granted after a moment.
func (r *record) grantsAfter(at int64) int {
	n := 0
	for _, t := range r.tenures {
		if t.from > at {
			n++
		}
	}
	return n
}

// together returns for how long, in all, two or more had the lock. What lasts is not
// counted.
func (r *record) together() time.Duration {
	var over []*tenure
	for _, t := range r.tenures {
		if t.until > t.from {
			over = append(over, t)
		}
	}
	slices.SortFunc(over, func(x, y *tenure) int { return cmp.Compare(x.from, y.from) })
	var sum, until, counted int64 // one had it until then; all before is counted
	for _, t := range over {
		sum += max(min(until, t.until)-max(t.from, counted), 0)
		counted = max(counted, min(until, t.until))
		until = max(until, t.until)
	}
	return time.Duration(sum)
}

// verdict is what came of mutual exclusion in an act.
type verdict struct {
	expected bool // that it breaks
	together time.Duration
	written  int
	missing  int // updates that are not in the ledger
}

// judge compares the record with the ledger.
func (r *record) judge(expected bool, inLedger uint64) verdict {
	return verdict{expected: expected, together: r.together(), written: r.written, missing: r.written - int(inLedger)}
}

func (v verdict) broken() bool { return v.together > 0 || v.missing != 0 }

// asDocumented reports whether that is what package redlock says of such a case.
func (v verdict) asDocumented() bool { return v.broken() == v.expected }

// String says it in a line.
func (v verdict) String() string {
	line := "BROKEN, as Redlock must NOT: "
	switch {
	case !v.broken() && v.expected:
		return "held, though it was to BREAK here"
	case !v.broken():
		return fmt.Sprintf("held: never two holders, all %d updates are there", v.written)
	case v.expected:
		line = "BROKEN, as Redlock must: "
	}
	var what []string
	if v.together > 0 {
		what = append(what, "two holders for "+screen.Short(v.together))
	} else {
		what = append(what, "a write came too late")
	}
	if v.missing != 0 {
		what = append(what, fmt.Sprintf("%d of %d updates lost", v.missing, v.written))
	}
	return line + strings.Join(what, ", ")
}
