package concurrency

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/inside"
)

// Beside makes a request that may be made several times.
func Beside(ctx context.Context, client *clientv3.Client, try func(context.Context) (int, error)) (int, error) {
	return beside(ctx, request{client, "a request"}, try)
}

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
