package history

import (
	"cmp"
	"math"
	"slices"
)

// Open is the time of what has not happened.
const Open = math.MaxInt64

// Hold is one acquisition of the lock.
type Hold struct {
	ID     string
	Worker string
	Token  int64
	Key    string
	// Called is when the lock was asked for, Granted when that returned.
	Called, Granted int64
	// Until is the deadline as it was last seen; without deadlines, when the hold last
	// said that it was valid.
	Until int64
	// Valid is the latest time at which the hold is known to have said that it was.
	Valid int64
	// Releasing is when it was given up, Released when that had succeeded, Told when
	// its worker learned of its loss, Died when that was killed, stopped or cut off;
	// Open for never.
	Releasing, Released, Told, Died int64
	// Overruled is when an operator took the lock away; Open for never.
	Overruled int64
	// Timed is set if the hold has deadlines.
	Timed bool
	// Phantom is set if its entry was not there when it was granted.
	Phantom bool
}

// End is until when nobody else may be granted the lock: the deadline, unless the hold
// was given up or taken away before.
func (h Hold) End() int64 { return min(h.Until, h.Releasing, h.Overruled) }

// Holds makes holds of the events, in the order in which they were granted.
func Holds(events []Event) []Hold {
	byID := make(map[string]*Hold)
	for _, e := range events {
		if e.Kind == Granted {
			byID[e.Hold] = &Hold{
				ID: e.Hold, Worker: e.Worker, Token: e.Token, Key: e.Key, Called: e.Call, Granted: e.At,
				Until: cmp.Or(e.Until, e.At), Valid: e.At, Timed: e.Until != 0,
				Releasing: Open, Released: Open, Told: Open, Died: Open, Overruled: Open,
			}
		}
	}
	for _, e := range events {
		if h := byID[e.Hold]; h != nil {
			learn(h, e)
		}
	}
	var all []Hold
	for _, h := range byID {
		if !h.Timed {
			h.Until = h.Valid
		}
		all = append(all, *h)
	}
	slices.SortFunc(all, func(a, b Hold) int {
		return cmp.Or(cmp.Compare(a.Granted, b.Granted), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// learn takes in what an event says of a hold.
func learn(h *Hold, e Event) {
	switch e.Kind {
	case Valid:
		h.Valid = max(h.Valid, e.At)
	case Releasing:
		h.Releasing = min(h.Releasing, e.At)
	case Released:
		if e.OK {
			h.Released = min(h.Released, e.At)
		}
	case Told:
		h.Told = min(h.Told, e.At)
	case Died:
		h.Died = min(h.Died, e.At)
	case Phantom:
		h.Phantom = true
	case Begun:
		if e.Detail == Overrules {
			h.Overruled = min(h.Overruled, e.At)
		}
		return
	default:
		return
	}
	if e.Until != 0 {
		h.Until = e.Until // the latest word: a loss brings it forward
	}
}

// Overrules is the detail of a fault in which an operator takes the lock from a hold.
const Overrules = "overrules"

// next returns the first hold of another worker's that was granted after that of the
// given ID: when that ended, its own worker may be the last to report.
func next(holds []Hold, id string) (Hold, bool) {
	var dead Hold
	for _, h := range holds {
		if h.ID == id {
			dead = h
		} else if dead.ID != "" && h.Worker != dead.Worker && !h.Phantom {
			return h, true
		}
	}
	return Hold{}, false
}
