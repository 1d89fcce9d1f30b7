package clock

import (
	"sync"
	"time"
)

// recheck bounds how late a [Timer] is after a suspension: Go's timers stop while the system sleeps, so an armed one is
// compared with the counting clock at least this often. One wake-up a second is nothing next to a lease's
// renewals, and a second is the unit in which leases are granted.
const recheck = time.Second

// Timer calls a function once the counting clock has reached an instant. [AfterFunc] makes one. Its methods may be
// called from any goroutine, but only from the bubble it was made in, if it was made in one.
type Timer struct {
	fn func()

	mu    sync.Mutex
	at    Instant
	armed bool
	timer *time.Timer
}

// AfterFunc calls fn in its own goroutine once the counting clock has reached at: never before, as soon as a
// [time.Timer] would while nothing is suspended, and within a second of waking up after at passed during a suspension.
func AfterFunc(at Instant, fn func()) *Timer {
	t := &Timer{fn: fn, at: at, armed: true}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(nap(Until(at)), t.expire)
	return t
}

// Reset makes t call its function at another instant instead, or once more if it already did. A call that has
// begun is neither stopped nor waited for.
func (t *Timer) Reset(at Instant) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at, t.armed = at, true
	t.timer.Reset(nap(Until(at)))
}

// Stop keeps t from calling its function and reports whether it did: false means that the call has begun, which
// is not waited for, or that t was stopped before.
func (t *Timer) Stop() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	stopped := t.armed
	t.armed = false
	t.timer.Stop()
	return stopped
}

// expire runs when the Go timer fires. It may come late, from before a Reset or a Stop, and so trusts only the fields.
func (t *Timer) expire() {
	if t.due() {
		t.fn()
	}
}

func (t *Timer) due() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.armed {
		return false
	}
	if left := Until(t.at); left > 0 {
		t.timer.Reset(nap(left))
		return false
	}
	t.armed = false
	return true
}

// nap is how long to rely on a Go timer when left remains.
func nap(left time.Duration) time.Duration {
	left = lasts(left)
	if !suspensionCounts || inBubble() {
		return left
	}
	return min(left, recheck)
}
