package history

import (
	"time"

	"github.com/conclave-go/conclave/lock"
)

// busy is how late the machine may have been in the last TTL before a loss, as a part of
// it, for the loss to count: renewals have to be sent and answered in that time.
const busy = 10

// losses counts what was granted while faults lasted, and who was told of a loss; which is
// a break where no hold may be lost, unless the machine was too late to renew it.
func (r *Result) losses(events []Event, holds []Hold, rules Rules) {
	overruled := make(map[string]bool)
	for _, h := range holds {
		overruled[h.ID] = h.Overruled != Open
	}
	free := int64(0) // since when the lock may be passed on under a fault
	for _, e := range events {
		switch e.Kind {
		case Begun:
			if e.Worker == "" && e.Point == "" {
				free = e.At
			}
		case Ended:
			if e.Worker == "" && free != 0 {
				r.Free += time.Duration(e.At - free)
				free = 0
			}
		case Granted:
			if free != 0 {
				r.Rounds++
			}
		case Told:
			r.Losses++
			if !rules.Kept || overruled[e.Hold] {
				continue
			}
			if late := rules.late(e.At-int64(rules.TTL), e.At); late > rules.TTL/busy {
				r.Notes = append(r.Notes, e.Hold+" was lost when the machine was late by "+late.Round(time.Millisecond).String())
				continue
			}
			r.found(Kept, e.At, "%s lost the lock although nobody took it away: %s", e.Hold, e.Detail)
		default:
		}
	}
}

// handovers requires, where no hold may be lost, that an entry with nothing in its way is
// granted the lock in time, whatever has become of the watch that was to tell it so. Of a hold
// without a token it is not known who was in its way.
func (r *Result) handovers(events []Event, holds []Hold, rules Rules) {
	if !rules.Kept || rules.TTL == 0 {
		return
	}
	entries := entriesOf(events)
	for _, h := range holds {
		if h.Token == 0 {
			continue
		}
		free := max(queuedAt(events, h), h.Called)
		for _, e := range entries {
			if e.created < lock.Token(h.Token).Revision() && e.gone < Open {
				free = max(free, e.goneAt)
			}
		}
		if took := time.Duration(h.Granted - free); took > rules.TTL+grace+rules.late(free, h.Granted) {
			r.found(L, h.Granted, "%s was granted the lock %v after nothing was in its way", h.ID, took.Round(time.Millisecond))
		}
	}
}
