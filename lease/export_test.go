package lease

import (
	"time"

	"github.com/conclave-go/conclave/internal/clock"
)

// Overdue makes the deadline pass before the timer notices, as it does for a process that
// was stopped.
func (l *Lease) Overdue() {
	l.timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = clock.Now()
}

// Extend is what a confirmed renewal does that was sent just now.
func (l *Lease) Extend(ttl time.Duration) bool { return l.extend(clock.Now(), time.Now(), ttl) }

// Suspend is what a renewal does that failed.
func (l *Lease) Suspend(why error) { l.suspend(why) }

// Registering returns the value that the session's registration of a key shall have.
func Registering(s *Session, key string) string {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	if r := s.reg.all[key]; r != nil {
		return r.want
	}
	return ""
}
