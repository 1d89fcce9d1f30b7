package clock

import (
	"math"
	"sync/atomic"
	"time"
)

// bubbleEnds is the wall-clock time, in nanoseconds since 1970, before which a goroutine is taken to run in virtual time.
const bubbleEnds = Instant(1577836800e9) // 2020-01-01 UTC

//nolint:gochecknoglobals // a property of the process: how many callers of Virtual want it to know about bubbles
var virtual atomic.Int64

// processStart is what [time.Now] is measured from, so that its monotonic reading is used.
//
//nolint:gochecknoglobals // an epoch, never written again
var processStart = time.Now()

// Instant is a reading of the counting clock in nanoseconds. Its zero point is arbitrary: only the differences of
// readings taken in one process, and on one side of a bubble's border, mean something.
type Instant int64

// Now reads the counting clock.
func Now() Instant { return skewed.Load().at(right()) }

// right is [Now] as long as nobody has called [SetRate].
func right() Instant {
	if !suspensionCounts || inBubble() {
		return sinceStart()
	}
	return counting()
}

// Until returns how long the counting clock has to run until it reaches i; negative once i has passed.
func Until(i Instant) time.Duration { return i.Sub(Now()) }

// Add returns the instant d after i, or before it when d is negative. Like [time.Time.Sub], it saturates.
func (i Instant) Add(d time.Duration) Instant {
	sum := i + Instant(d)
	switch {
	case d > 0 && sum < i:
		return math.MaxInt64
	case d < 0 && sum > i:
		return math.MinInt64
	}
	return sum
}

// Sub returns the time from j to i. It saturates at the longest duration.
func (i Instant) Sub(j Instant) time.Duration {
	diff := time.Duration(i - j)
	switch {
	case i > j && diff < 0:
		return math.MaxInt64
	case i < j && diff > 0:
		return math.MinInt64
	}
	return diff
}

// Virtual makes goroutines in testing/synctest bubbles follow virtual time until restore is called; for tests only.
// Calls nest, from any goroutine; a second call of the same restore does nothing. Goroutines outside bubbles are
// not affected.
func Virtual() (restore func()) {
	virtual.Add(1)
	var done atomic.Bool
	return func() {
		if !done.Swap(true) {
			virtual.Add(-1)
		}
	}
}

// inBubble reports whether the calling goroutine lives in virtual time.
func inBubble() bool {
	return virtual.Load() > 0 && Instant(time.Now().UnixNano()) < bubbleEnds
}

// sinceStart is monotonic outside bubbles. In a bubble [time.Now] carries no monotonic reading and the difference is
// that of the wall clocks, negative by decades, which runs as evenly because nobody sets a virtual clock.
func sinceStart() Instant { return Instant(time.Since(processStart)) }
