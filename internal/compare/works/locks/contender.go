package locks

import (
	"context"
	"time"

	"go.etcd.io/etcd/client/v3/concurrency"

	ours "github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/lock"
)

// contender takes a lock and returns how to release it.
type contender func(ctx context.Context) (release, error)

type release func(ctx context.Context) error

// visit takes the lock and releases it.
func (c contender) visit(ctx context.Context) error {
	leave, err := c(ctx)
	if err != nil {
		return err
	}
	return leave(ctx)
}

// holder makes a contender of a method of ours.
func holder(take func(context.Context) (*lock.Hold, error)) contender {
	return func(ctx context.Context) (release, error) {
		h, err := take(ctx)
		if err != nil {
			return nil, err
		}
		return h.Unlock, nil
	}
}

// ours is a mutex on a session and client of its own.
func (s *stage) ours(ctx context.Context, name string, opts ...lock.Option) (contender, error) {
	session, err := s.session(ctx)
	if err != nil {
		return nil, err
	}
	m, err := lock.NewMutex(session, name, opts...)
	if err != nil {
		return nil, err
	}
	return holder(m.Lock), nil
}

// theirs is the official client's mutex on a session and client of its own.
func (s *stage) theirs(ctx context.Context, name string) (contender, error) {
	session, err := s.official(ctx)
	if err != nil {
		return nil, err
	}
	return mutexOf(session, name), nil
}

func mutexOf(session *concurrency.Session, name string) contender {
	m := concurrency.NewMutex(session, name)
	return func(ctx context.Context) (release, error) { return m.Unlock, m.Lock(ctx) }
}

// switched is theirs after a change of one import path: ours under their names, on a session
// and client of its own.
func (s *stage) switched(ctx context.Context, name string) (contender, error) {
	client, err := s.Client(ctx)
	if err != nil {
		return nil, err
	}
	session, err := ours.NewSession(client, ours.WithTTL(int(ttl/time.Second)))
	if err != nil {
		return nil, err
	}
	s.atEnd(func(context.Context) error { return session.Close() })
	m := ours.NewMutex(session, name)
	return func(ctx context.Context) (release, error) { return m.Unlock, m.Lock(ctx) }, nil
}

// times repeats a contender.
func times(n int, c contender) (all []contender) {
	for range n {
		all = append(all, c)
	}
	return all
}
