package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/conclave-go/conclave/lock"
)

// ledger is what etcd was seen to store, in the order in which it did.
type ledger struct {
	runs    map[string]int        // finished, by job
	last    map[string]time.Time  // for which the latest was
	highest map[string]lock.Token // of all pages
	resumed int                   // by another process than began them
}

func newLedger() *ledger {
	return &ledger{make(map[string]int), make(map[string]time.Time), make(map[string]lock.Token), 0}
}

// check takes an event into account. It fails if that should not have happened.
func (l *ledger) check(e event) error {
	rec := e.Record
	switch {
	case e.Kind == stored && len(rec.Pages) > 0:
		token := rec.Pages[len(rec.Pages)-1].Token
		if token < l.highest[rec.Job] {
			return fmt.Errorf("%s: a page with token %s was stored after token %s", rec.Job, token, l.highest[rec.Job])
		}
		l.highest[rec.Job] = token
	case e.Kind == result:
		if !rec.Slot.After(l.last[rec.Job]) {
			return fmt.Errorf("%s: the run of %s came after that of %s", rec.Job, rec.Slot, l.last[rec.Job])
		}
		l.last[rec.Job] = rec.Slot
		l.runs[rec.Job]++
		if slices.ContainsFunc(rec.Pages, func(p page) bool { return p != rec.Pages[0] }) {
			l.resumed++
		}
	}
	return nil
}

// String sums up.
func (l *ledger) String() string {
	return fmt.Sprintf("%d reports and %d mails, %d of them resumed by another: none twice, and tokens only rose",
		l.runs["report"], l.runs["mail"], l.resumed)
}
