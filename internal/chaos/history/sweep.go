package history

import (
	"time"

	"github.com/conclave-go/conclave/lock"
)

// tolerance is by how much a deadline may be recorded too early.
const tolerance = int64(2 * time.Millisecond)

// sweep goes through the holds in the order of grants: nobody may be granted the lock
// before the end of all who were before.
func (r *Result) sweep(holds []Hold) {
	var last Hold // of those so far, the one that lasts longest
	for _, h := range holds {
		if h.Phantom {
			r.found(Real, h.Granted, "%s was granted the lock to %s, whose entry was not there", h.Worker, h.ID)
		}
		if h.Timed && h.Valid > h.Until+tolerance {
			r.found(InTime, h.Valid, "%s said that it was valid %v after its deadline", h.ID, time.Duration(h.Valid-h.Until))
		}
		if h.End() <= h.Granted {
			continue // over when Lock returned
		}
		if late := last.End() - h.Granted; last.ID != "" && late > 0 {
			r.found(S3, h.Granted, "%s was granted the lock %v before the end of %s", h.ID, time.Duration(late).Round(10*time.Microsecond), last.ID)
			r.Late = append(r.Late, time.Duration(late))
		}
		if last.ID == "" || h.End() > last.End() {
			last = h
		}
	}
}

// tokens requires that they increase: whoever asks after somebody was granted the lock
// gets a higher one. Who overtakes others in the queue is found by ledger.
func (r *Result) tokens(holds []Hold) {
	for i, h := range holds {
		for _, g := range holds[:i] {
			switch {
			case g.Token == 0 || h.Token == 0: // unknown: it could not be read
			case g.Token == h.Token:
				r.found(S1, h.Granted, "%s and %s have the same token %s", g.ID, h.ID, Text(h.Token))
			case g.Token > h.Token && g.Granted < h.Called:
				r.found(S2, h.Granted, "token %s of %s came after %s of %s", Text(h.Token), h.ID, Text(g.Token), g.ID)
			}
		}
	}
}

// Text writes a token for people.
func Text(token int64) string { return lock.Token(token).String() }
