package clock

import (
	"sync/atomic"
	"time"
)

// A system call costs as much as all else that handing a lock on within a process does, so
// the counting clock is told by Go's monotonic clock, which costs a sixth, and the lead that
// a reading of both has shown for the one over the other. Only a suspension changes the
// lead, and always to more; it moves the wall clock by as much, which is read along.

const (
	// fresh is how long a reading is used: whatever the wall clock does, a suspension goes
	// unnoticed for that long at most, counted from the resumption.
	fresh = Instant(time.Millisecond)
	// exact is how long taking a reading may have taken for it to be used again, and by
	// how much the wall clock may differ from the monotonic one.
	exact = Instant(10 * time.Microsecond)
)

// reading is what the clocks said at one moment.
type reading struct {
	mono, wall Instant
	lead       Instant // of the counting clock over mono
	exact      bool
}

//nolint:gochecknoglobals // the latest reading, for all goroutines of the process
var latest atomic.Pointer[reading]

// serves reports whether r tells the counting clock when the others say mono and wall.
func (r *reading) serves(mono, wall Instant) bool {
	if r == nil || !r.exact {
		return false
	}
	since := mono - r.mono
	jump := wall - r.wall - since
	return since >= 0 && since <= fresh && -exact <= jump && jump <= exact
}

// next is the reading after r: the counting clock said counting while the monotonic clock
// went from before to after, and the wall clock said wall at the end. The lead so measured
// is too small by up to the time that took. The largest is the best, and with it no call
// of Now is told less than an earlier one.
func (r *reading) next(counting, before, after, wall Instant) *reading {
	lead := counting - after
	if r != nil {
		lead = max(lead, r.lead)
	}
	return &reading{mono: after, wall: wall, lead: lead, exact: after-before <= exact}
}

// counting reads the counting clock, or the others where that will do.
func counting() Instant {
	mono, wall := others()
	if wall < bubbleEnds {
		return readCounting() // in a bubble the others are virtual, the counting clock is not
	}
	last := latest.Load()
	if last.serves(mono, wall) {
		return mono + last.lead
	}
	now := readCounting()
	after, wall := others()
	for {
		read := last.next(now, mono, after, wall)
		if latest.CompareAndSwap(last, read) {
			return after + read.lead
		}
		last = latest.Load()
	}
}

// others reads the monotonic clock and the wall clock.
func others() (mono, wall Instant) {
	t := time.Now()
	return Instant(t.Sub(processStart)), Instant(t.UnixNano())
}
