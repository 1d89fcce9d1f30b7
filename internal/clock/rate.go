package clock

import (
	"sync/atomic"
	"time"
)

// skew is a clock that runs at another rate since a moment.
type skew struct {
	since Instant // by the right clock
	shown Instant // then, by this one
	rate  float64
}

//nolint:gochecknoglobals // a property of the process
var skewed atomic.Pointer[skew]

// SetRate lets the clock of this process run at another rate from now on, as a broken one does: at 0.5 it takes
// two seconds for one. The rate is above zero, and 1 is right again. For tests only.
func SetRate(rate float64) {
	since := right()
	skewed.Store(&skew{since: since, shown: skewed.Load().at(since), rate: rate})
}

// RightAgain makes the clock right, and forgets by how much it was wrong: it may jump. For tests only.
func RightAgain() { skewed.Store(nil) }

// Rate returns the rate of the clock, 1 by default.
func Rate() float64 {
	if s := skewed.Load(); s != nil {
		return s.rate
	}
	return 1
}

// at is what the clock shows when it is now by the right one.
func (s *skew) at(now Instant) Instant {
	if s == nil {
		return now
	}
	return s.shown + Instant(float64(now-s.since)*s.rate)
}

// lasts is how long a clock of this rate takes for d.
func lasts(d time.Duration) time.Duration {
	if s := skewed.Load(); s != nil {
		return time.Duration(float64(d) / s.rate)
	}
	return d
}
