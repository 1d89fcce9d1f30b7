package history

import (
	"slices"
	"time"

	"github.com/conclave-go/conclave/lock"
)

const (
	// grace is what L allows on top of the TTL.
	grace = time.Second
	// planning is what it allows besides where a plan is made before anybody asks: of a few
	// requests in a row each is slow while all that was killed starts again.
	planning = time.Second
)

// resource goes through what the resource accepted and refused.
func (r *Result) resource(events []Event) {
	highest, lost := int64(0), int64(0)
	for _, e := range events {
		if e.Kind == Wrote && e.Way == Txn && !e.OK && e.Detail == "" {
			r.Refused[Txn]++
		}
		if e.Kind != Judged {
			continue
		}
		if !e.OK {
			r.Refused[e.Way]++
			continue
		}
		r.Writes[e.Way]++
		if e.Was != e.Found {
			r.Lost[e.Way]++
		}
		if e.Way == Fenced {
			if e.Was != e.Found {
				lost = e.At
			}
			if e.Token < highest {
				r.found(S5, e.At, "%s of %s was accepted after %s", Text(e.Token), e.Hold, Text(highest))
			}
			highest = max(highest, e.Token)
		}
	}
	if r.Lost[Fenced] > 0 {
		r.found(S5, lost, "%d fenced updates were lost", r.Lost[Fenced])
	}
}

func (r Rules) late(from, to int64) time.Duration {
	if r.Late == nil {
		return 0
	}
	return r.Late(from, to)
}

// recoveries measures how long it took from each death of a holder to the next grant to
// somebody else, and finds where the lock did not go on at all. Who was granted the lock
// counts as waiting from when its entry was in the queue: one that lost its own lease
// while it waited begins again at the end.
func (r *Result) recoveries(events []Event, holds []Hold, rules Rules) {
	for _, e := range events {
		if e.Kind == Broken {
			r.found(Live, e.At, "%s", e.Detail)
		}
		if e.Kind == Died {
			h, ok := next(holds, e.Hold)
			if !ok {
				r.found(L, e.At, "nobody was granted the lock after the death of %s", e.Hold)
				continue
			}
			from, bound := e.At, rules.TTL+grace
			if rules.Planned {
				bound += planning
			} else {
				from = max(from, queuedAt(events, h))
			}
			took := time.Duration(max(0, h.Granted-from))
			r.Recoveries = append(r.Recoveries, took)
			if rules.TTL > 0 && took > bound+rules.late(e.At, h.Granted) {
				r.found(L, h.Granted, "%s was granted the lock %v after the death of %s", h.ID, took.Round(time.Millisecond), e.Hold)
			}
		}
	}
	slices.Sort(r.Recoveries)
}

// queuedAt returns when the entry of a hold was put, 0 if that is not known.
func queuedAt(events []Event, h Hold) int64 {
	for _, e := range events {
		if e.Kind == Entry && h.Token != 0 && e.Revision == lock.Token(h.Token).Revision() {
			return e.At
		}
	}
	return 0
}
