package clock

import (
	"sync/atomic"
	"time"
)

// A system call costs as much as all else that handing a lock on within a process does, so
// a reading of the counting clock is used again for a moment, advanced by Go's monotonic
// clock, which costs a sixth. A suspension in between would stop that one; but it moves
// the wall clock by as much, which is read along.

const (
	// fresh is how long a reading is used: whatever the wall clock does, a suspension goes
	// unnoticed for that long at most, counted from the resumption.
	fresh = Instant(time.Millisecond)
	// exact is how long taking a reading may have taken for it to be used again, and by
	// how much the wall clock may differ from the monotonic one.
	exact = Instant(10 * time.Microsecond)
)

// reading is what the clocks said at one moment.
type reading struct{ mono, wall, counting Instant }

//nolint:gochecknoglobals // the latest reading, for all goroutines of the process
var latest atomic.Pointer[reading]

// at returns what the counting clock says when the others say mono and wall, and whether
// that can be told.
func (r *reading) at(mono, wall Instant) (now Instant, ok bool) {
	if r == nil {
		return 0, false
	}
	since := mono - r.mono
	jump := wall - r.wall - since
	return r.counting + since, since >= 0 && since <= fresh && -exact <= jump && jump <= exact
}

// counting reads the counting clock, or the others where that will do.
func counting() Instant {
	mono, wall := others()
	if now, ok := latest.Load().at(mono, wall); ok {
		return now
	}
	now := readCounting()
	// Taken after it, so that what is told later is not ahead of the counting clock.
	if after, wall := others(); after-mono <= exact {
		latest.Store(&reading{mono: after, wall: wall, counting: now})
	}
	return now
}

// others reads the monotonic clock and the wall clock.
func others() (mono, wall Instant) {
	t := time.Now()
	return Instant(t.Sub(processStart)), Instant(t.UnixNano())
}
