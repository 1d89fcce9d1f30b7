package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/lock"
)

// record is what of a run is judged at its end: by then also the events have come
// that a busy machine kept back for longer than the merger waits.
type record struct {
	terms    []*term
	accepted int     // guarded writes, in etcd
	late     int     // guarded writes after the end of a term, refused
	problems []error // found on the way
}

// term is how long a candidate may have acted as the leader.
type term struct {
	worker string
	token  lock.Token
	from   int64 // when it learned that it was elected
	until  int64 // its deadline
	ended  int64 // when it was told otherwise or gave up; 0 if it did neither
}

// end returns when the leader stopped to lead: at the deadline at the latest, even
// if it does not run.
func (t *term) end() int64 {
	if t.ended != 0 {
		return min(t.ended, t.until)
	}
	return t.until
}

// find returns the term of a token, which is a new one at its first event.
func (r *record) find(e event) *term {
	i := slices.IndexFunc(r.terms, func(t *term) bool { return t.token == e.Token })
	if i >= 0 {
		return r.terms[i]
	}
	t := &term{worker: e.Worker, token: e.Token}
	r.terms = append(r.terms, t)
	return t
}

// after returns the first term of another than worker that began after a time; nil if
// there is none yet.
func (r *record) after(at int64, worker string) *term {
	var first *term
	for _, t := range r.terms {
		if t.worker != worker && t.from > at && (first == nil || t.from < first.from) {
			first = t
		}
	}
	return first
}

func (r *record) apply(e event) {
	switch e.Kind {
	case elected:
		t := r.find(e)
		t.from, t.until = e.At, max(t.until, e.Until)
	case leads:
		t := r.find(e)
		t.until = max(t.until, e.Until)
	case resigns, transfers, told:
		r.find(e).ended = e.At
	case refused:
		r.find(e).ended = 0
	case wrote:
		switch {
		case e.OK:
			r.problems = append(r.problems, fmt.Errorf("a write by %s after its term %s was accepted", e.Worker, e.Token))
		case e.Detail == "":
			r.late++
		}
	default: // of no term
	}
}

// write takes in that etcd has accepted the write of a leader, at a moment at which
// the first in its queue was the given one.
func (r *record) write(token, first lock.Token) {
	r.accepted++
	if token != first {
		r.problems = append(r.problems,
			fmt.Errorf("etcd accepted a guarded write of term %s while %s was the first in the queue", token, first))
	}
}

// verdict returns what should not have happened: two leaders at one time before
// their deadlines, tokens that do not rise, a write of a former leader accepted.
func (r *record) verdict() error {
	problems := slices.Clone(r.problems)
	terms := slices.SortedFunc(slices.Values(r.terms), func(x, y *term) int { return cmp.Compare(x.from, y.from) })
	for i, b := range terms {
		for _, a := range terms[:i] {
			if overlap := a.end() - b.from; overlap > 0 {
				problems = append(problems, fmt.Errorf("two leaders for %s: %s in term %s and %s in term %s",
					screen.Short(time.Duration(overlap)), a.worker, a.token, b.worker, b.token))
			}
			if a.token >= b.token {
				problems = append(problems, fmt.Errorf("term %s of %s came after term %s of %s", b.token, b.worker, a.token, a.worker))
			}
		}
	}
	return errors.Join(problems...)
}
