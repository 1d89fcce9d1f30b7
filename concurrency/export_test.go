package concurrency

// Names returns how many mutexes and elections a session knows.
func Names(s *Session) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.claims) + len(s.terms) + len(s.resumed)
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
