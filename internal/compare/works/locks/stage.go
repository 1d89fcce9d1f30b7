package locks

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/lease"
)

const (
	// ttl is that of all sessions: a thousand of them do not lose it on a machine that
	// is busy with them.
	ttl = time.Minute
	// endTimeout bounds the end of a work.
	endTimeout = time.Minute
	// makers is how many contenders are made at a time.
	makers = 8
)

// stage is where the sides of a work get what they need. What they leave to it ends with
// the work.
type stage struct {
	*perf.Env

	mu   sync.Mutex
	ends []func(context.Context) error
}

// begin makes the Begin of a work from a function that makes its sides.
func begin(sides func(ctx context.Context, s *stage) ([]perf.Side, error)) func(context.Context, *perf.Env) ([]perf.Side, func() error, error) {
	return func(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
		s := &stage{Env: on}
		end := func() error { return s.end(context.WithoutCancel(ctx)) }
		all, err := sides(ctx, s)
		if err != nil {
			return nil, nil, errors.Join(err, end())
		}
		return all, end, nil
	}
}

// atEnd notes what end does; what came last is ended first.
func (s *stage) atEnd(end func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = append(s.ends, end)
}

func (s *stage) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	var errs []error
	for _, end := range slices.Backward(s.ends) {
		errs = append(errs, end(ctx))
	}
	s.ends = nil
	return errors.Join(errs...)
}

// session returns one of ours, with a client of its own.
func (s *stage) session(ctx context.Context) (*lease.Session, error) {
	client, err := s.Client(ctx)
	if err != nil {
		return nil, err
	}
	ours, err := lease.NewSession(ctx, client, lease.WithTTL(ttl))
	if err != nil {
		return nil, err
	}
	s.atEnd(ours.Close)
	return ours, nil
}

// official returns a session of the official client's, with a client of its own.
func (s *stage) official(ctx context.Context) (*concurrency.Session, error) {
	all, err := s.officials(ctx, 1)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// officials returns n sessions of the official client's that share a client.
func (s *stage) officials(ctx context.Context, n int) ([]*concurrency.Session, error) {
	client, err := s.Client(ctx)
	if err != nil {
		return nil, err
	}
	var all []*concurrency.Session
	for range n {
		theirs, err := concurrency.NewSession(client, concurrency.WithTTL(int(ttl/time.Second)))
		if err != nil {
			return nil, err
		}
		s.atEnd(func(context.Context) error { return theirs.Close() })
		all = append(all, theirs)
	}
	return all, nil
}

// several calls make n times, a few at a time, and returns what it made.
func several[T any](n int, one func() (T, error)) ([]T, error) {
	all, errs := make([]T, n), make([]error, n)
	turns := make(chan struct{}, makers)
	var wg sync.WaitGroup
	for i := range n {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			all[i], errs[i] = one()
		})
	}
	wg.Wait()
	return all, errors.Join(errs...)
}
