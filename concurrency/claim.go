package concurrency

import (
	"context"
	"errors"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lock"
)

// claimKey names a mutex or an election of a session.
type claimKey struct {
	prefix   string
	election bool
}

// claim is what a session has of one mutex or election. Whoever has the turn may change
// it: those who wait for the turn find what the one before has got.
type claim struct {
	session *Session
	key     claimKey
	turn    chan struct{} // holds one token
	hold    *lock.Hold
	term    *election.Term
	// left is what goroutines of a strict session have yet to take up, once searched.
	left     []leftover
	searched bool

	// The fields below are protected by the session's mu.

	users int
	// back is what was taken from left and could not be taken up.
	back []leftover
	// waits is closed while whoever has the turn may wait for another session.
	waits chan struct{}
}

// claim returns the session's claim to a mutex or election, for a user who has to leave it.
func (s *Session) claim(key claimKey) (c *claim, leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c = s.claims[key]
	if c == nil {
		c = &claim{session: s, key: key, turn: make(chan struct{}, 1), waits: make(chan struct{})}
		c.turn <- struct{}{}
		s.claims[key] = c
	}
	c.users++
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		c.users--
		s.forget(key)
	}
}

// forget drops a claim that nobody uses and that has nothing: a session may see any number of
// names. mu must be held.
func (s *Session) forget(key claimKey) {
	if c := s.claims[key]; c != nil && c.users == 0 && !c.has() {
		delete(s.claims, key)
	}
}

// has reports whether the session has something, as far as it knows. The turn must be held, or
// the session's mu while nobody uses the claim.
func (c *claim) has() bool {
	return c.hold != nil && c.hold.Context().Err() == nil || c.term != nil && c.term.Context().Err() == nil
}

// given notes that a hold or term of the claim was given up.
func (s *Session) given(key claimKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(key)
}

// take waits for the turn until ctx or the session ends, and returns how to give it back. If
// unless is closed first, it fails with [lock.ErrLocked].
func (c *claim) take(ctx context.Context, unless <-chan struct{}) (release func(), err error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	select {
	case <-c.turn:
		return func() { c.turn <- struct{}{} }, nil
	case <-unless:
		return nil, lock.ErrLocked
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.session.done:
		return nil, c.session.lease.Err()
	}
}

// waiting returns a channel that is closed while, or as soon as, whoever has the turn may wait
// for another session.
func (c *claim) waiting() <-chan struct{} {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	return c.waits
}

// wait notes that whoever has the turn may wait for another session, until end is called.
func (c *claim) wait() (end func()) {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	close(c.waits)
	return func() {
		c.session.mu.Lock()
		defer c.session.mu.Unlock()
		c.waits = make(chan struct{})
	}
}

// holds reports whether the session has the mutex, and asks the server for that: an operator
// may have deleted the key. The turn must be held.
func (c *claim) holds(ctx context.Context) (bool, error) {
	if c.hold == nil {
		return false, nil
	}
	_, err := c.hold.Txn(ctx).Commit()
	switch {
	case err == nil:
		return true, nil
	case c.hold.Err() == nil: // it is not known
		return false, err
	}
	c.hold = nil
	return false, nil
}

// leads reports whether the session leads, with a value that it puts if another is there. If
// that cannot be put, the term is over; if it is only not known what is there, the term goes
// on. The turn must be held.
func (c *claim) leads(ctx context.Context, val string) (bool, error) {
	t := c.term
	if t == nil {
		return false, nil
	}
	has, err := c.session.shows(ctx, t, val)
	lasts := t.Err() == nil
	if err != nil && lasts {
		return false, err
	}
	c.term = nil
	if err == nil && !has {
		err = c.session.proclaimOrResign(ctx, t, val)
	}
	switch {
	case err == nil:
		c.term = t
		return true, nil
	case !lasts, errors.Is(err, election.ErrLost), errors.Is(err, election.ErrResigned):
		return false, nil
	}
	return false, err
}

var errNoSession = errors.New("concurrency: session is nil or zero: must come from NewSession")

// check refuses a session that did not come from NewSession.
func (s *Session) check() error {
	if s == nil || s.inner == nil {
		return errNoSession
	}
	return nil
}
