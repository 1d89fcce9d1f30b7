package concurrency

import "github.com/conclave-go/conclave/internal/inside"

// Closing returns a channel that is closed once the session's Close has begun, or the session
// has ended.
func Closing(s *Session) <-chan struct{} { return inside.Of(s.inner).Context().Done() }

// Names returns how many mutexes and elections a session knows.
func Names(s *Session) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.claims) + len(s.terms) + len(s.resumed) + len(s.unsettled)
}

// Users returns how many calls of a session use a mutex or an election.
func Users(s *Session) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.claims {
		n += c.users
	}
	return n
}
