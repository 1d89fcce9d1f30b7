package lock_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// how is a way of taking a lock by its name.
type how func(ctx context.Context, p *peer, name string) (*lock.Hold, error)

func exclusively(ctx context.Context, p *peer, name string) (*lock.Hold, error) {
	m, err := lock.NewMutex(p.Session, name)
	if err != nil {
		return nil, err
	}
	return m.Lock(ctx)
}

func writing(ctx context.Context, p *peer, name string) (*lock.Hold, error) {
	m, err := lock.NewRWMutex(p.Session, name)
	if err != nil {
		return nil, err
	}
	return m.Lock(ctx)
}

func reading(ctx context.Context, p *peer, name string) (*lock.Hold, error) {
	m, err := lock.NewRWMutex(p.Session, name)
	if err != nil {
		return nil, err
	}
	return m.RLock(ctx)
}

// permits takes n permits of a semaphore.
func permits(n, of int) how {
	return func(ctx context.Context, p *peer, name string) (*lock.Hold, error) {
		s, err := lock.NewSemaphore(p.Session, name, of)
		if err != nil {
			return nil, err
		}
		return s.Acquire(ctx, n)
	}
}

// together takes the mutex of the name and those of the names in it.
func together(inner ...string) how {
	return func(ctx context.Context, p *peer, name string) (*lock.Hold, error) {
		names := []string{name}
		for _, in := range inner {
			names = append(names, name+"/"+in)
		}
		m, err := lock.NewMulti(p.Session, names)
		if err != nil {
			return nil, err
		}
		return m.Lock(ctx)
	}
}

func (p *peer) rwMutex(t *testing.T, name string, opts ...lock.Option) *lock.RWMutex {
	t.Helper()
	m, err := lock.NewRWMutex(p.Session, name, opts...)
	require.NoError(t, err)
	return m
}

func (p *peer) semaphore(t *testing.T, name string, permits int, opts ...lock.Option) *lock.Semaphore {
	t.Helper()
	s, err := lock.NewSemaphore(p.Session, name, permits, opts...)
	require.NoError(t, err)
	return s
}

func (p *peer) multi(t *testing.T, names ...string) *lock.Multi {
	t.Helper()
	m, err := lock.NewMulti(p.Session, names)
	require.NoError(t, err)
	return m
}

// take takes a lock that is free or soon will be.
func (p *peer) take(t *testing.T, how how, name string) *lock.Hold {
	t.Helper()
	h, err := how(guarded(t), p, name)
	require.NoError(t, err)
	return h
}

// takeSoon takes it in the background.
func (p *peer) takeSoon(ctx context.Context, how how, name string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		h, err := how(ctx, p, name)
		done <- outcome{h, err}
	}()
	return done
}

// queueUpTo takes a lock in the background that is taken, and returns once it
// watches what it waits for.
func (p *peer) queueUpTo(ctx context.Context, t *testing.T, how how, name string) (<-chan outcome, lease.Event) {
	t.Helper()
	before := p.watching()
	done := p.takeSoon(ctx, how, name)
	e := await(t, p.Waiting, "the acquisition waits")
	p.awaitWatching(t, before+1)
	return done, e
}

// watching returns how many watches have been created besides those that keep a
// stream open.
func (p *peer) watching() (n int) {
	for _, w := range p.Watches() {
		if w.Created != 0 && len(w.Filters) < 2 {
			n++
		}
	}
	return n
}

func (p *peer) awaitWatching(t *testing.T, n int) {
	t.Helper()
	eventually(t, func() bool { return p.watching() >= n }, "%d watches", n)
}

// awaitTally waits until the client has sent what it is to send; what comes too much
// by then fails the test.
func (p *peer) awaitTally(t *testing.T, want tally, what string) {
	t.Helper()
	eventually(t, func() bool {
		n := sent(p.Rec)
		return n.writes >= want.writes && n.watches >= want.watches && n.local >= want.local
	}, what)
	require.Equal(t, want, sent(p.Rec), what)
}

// contest is a way for locks of a kind to be in each other's way.
type contest struct {
	name string
	// first holds, next waits for it, and so does between, for which next waits too.
	first, between, next how
	// after is set if next waits for between but would not for first.
	after bool
}

// contests are all ways of waiting that differ from each other, and from a mutex behind a mutex, in what
// code they run; and, in the long run, in the kinds only.
var contests = suite.Long(differing, slices.Concat(differing, []contest{
	{"writer behind a writer", writing, writing, writing, false},
	{"multi behind a mutex", exclusively, exclusively, together("a"), false},
	{"mutex behind a multi", together("a"), together("b"), exclusively, false},
}))

var differing = []contest{
	{"reader behind a writer", writing, writing, reading, false},
	{"writer behind a reader", reading, writing, writing, false},
	{"first in a semaphore's queue", permits(3, 3), permits(3, 3), permits(1, 3), false},
	{"multi behind a multi", together("a", "b"), together("b", "c"), together("c", "b", "a"), false},
}

// passings are ways of waiting for somebody between that end with it.
var passings = []contest{
	{"reader behind a writer behind a reader", reading, writing, reading, true},
	{"permit behind a large request", permits(2, 3), permits(3, 3), permits(1, 3), true},
	{"multi behind a multi behind a mutex", exclusively, together("a"), func(ctx context.Context, p *peer, name string) (*lock.Hold, error) {
		return together("b")(ctx, p, name+"/a")
	}, true},
}

// eachContest runs a test for each of the contests.
func eachContest(t *testing.T, contests []contest, test func(t *testing.T, k contest)) {
	t.Helper()
	for _, k := range contests {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			test(t, k)
		})
	}
}

// aBit is how long a test waits for what must not happen.
const aBit = 50 * time.Millisecond

// tryLock is a method that takes a lock, mostly one that never waits.
type tryLock = func(context.Context) (*lock.Hold, error)

func tryPermits(s *lock.Semaphore, n int) tryLock {
	return func(ctx context.Context) (*lock.Hold, error) { return s.TryAcquire(ctx, n) }
}
