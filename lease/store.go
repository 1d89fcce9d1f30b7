package lease

import (
	"log/slog"
	"sync"
)

// store is what a session knows of the store that answers it: one that goes back, or is
// another, has been restored or replaced, and protects nothing of what is held.
type store struct {
	mu      sync.Mutex
	cluster uint64
	rev     int64
	said    bool
}

// revision returns the highest revision seen.
func (s *store) revision() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rev
}

// seen takes note of an answer, asked for when known was the highest revision, and says
// loudly, once, if it cannot be of the store that was there before.
func (s *store) seen(log *slog.Logger, a answer, known int64) {
	if a.rev == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	another := s.cluster != 0 && a.cluster != s.cluster
	if (another || a.rev < known) && !s.said {
		s.said = true
		log.Error("lease: the store is not the one that it was: restored from a backup, or another cluster behind the same "+
			"endpoints; locks and registrations from before are not protected", "cluster", a.cluster, "before", s.cluster,
			"revision", a.rev, "seen", known)
	}
	if another || a.rev < known {
		s.cluster, s.rev = a.cluster, a.rev
		return
	}
	s.said = false
	s.cluster, s.rev = a.cluster, max(s.rev, a.rev)
}

// seen takes note of which store has answered a round.
func (l *Lease) seen(r result) { l.cfg.store.seen(l.cfg.log, r.answer, r.round.known) }
