package lease

import (
	"context"
	"slices"
)

const (
	// maxKeys is how many keys of locks a lease carries before the session takes another.
	// Where authentication is on, each put checks every key of its lease: one of 105 µs
	// took 250 with 128 keys, 380 with 256, 750 with 512 and 4,100 with 4,096. Each lease
	// costs a renewal and a goroutine on the other hand.
	maxKeys = 256
	// aheadKeys is how many a lease carries when the next is granted, so that nobody has
	// to wait for that.
	aheadKeys = maxKeys * 7 / 8
	// maxStale is how many keys in doubt a lease in use may have before it is put out of
	// use: each costs every look a read.
	maxStale = 16
)

// roomy returns the oldest lease with room, so that later ones fall out of use, and
// closes the last if it has.
func (s *Session) roomy() *Lease {
	if s.cfg.final {
		return s.oldest()
	}
	chain := slices.DeleteFunc(s.chain(), func(l *Lease) bool { return l.draining.Load() || l.Err() != nil })
	i := slices.IndexFunc(chain, func(l *Lease) bool { return l.look.Load() < maxKeys })
	if i < 0 {
		return nil
	}
	load, last := chain[i].look.Load(), chain[len(chain)-1]
	switch {
	case load >= aheadKeys && i == len(chain)-1:
		s.ahead()
	case load < maxKeys/2 && i < len(chain)-1 && last.look.Load() == 0:
		// Whoever was given it just now and has not used it yet tries again.
		last.end(Closed, ErrClosed)
	}
	return chain[i]
}

// needless reports whether a lease carries nothing, and one before it has room for long.
func (s *Session) needless(l *Lease) bool {
	if l.look.Load() > 0 {
		return false
	}
	for _, other := range s.chain() {
		if other == l {
			break
		}
		if !other.draining.Load() && other.Err() == nil && other.look.Load() < maxKeys/2 {
			return true
		}
	}
	return false
}

// spare returns a lease that will have room for a while.
func (s *Session) spare() *Lease {
	for _, l := range s.chain() {
		if !l.draining.Load() && l.Err() == nil && l.look.Load() < aheadKeys {
			return l
		}
	}
	return nil
}

// ahead has a spare lease granted in the background if there is none.
func (s *Session) ahead() {
	if s.spare() != nil || s.granting.Swap(true) {
		return
	}
	if !(*inner)(s).Go(func(ctx context.Context) {
		defer s.granting.Store(false)
		if _, err := s.obtain(ctx, (*Session).spare); err == nil { // who needs one asks again
			s.reg.move()
		}
	}) {
		s.granting.Store(false)
	}
}

// tidy puts a lease out of use on which keys are in doubt, for nothing but the end of a
// lease settles whether a put may still arrive: when nobody else uses it, or there are
// many. Once only such keys are left, it is closed. It is called with each round.
func (s *Session) tidy(l *Lease) {
	if s.cfg.final || s.closed() != nil {
		return
	}
	if s.needless(l) {
		l.end(Closed, ErrClosed)
		return
	}
	if !l.draining.Load() {
		stale, used := l.look.Stale(l.ttl)
		if stale == 0 || (used > 0 && stale < maxStale) {
			return
		}
		l.draining.Store(true)
		s.ahead()
		s.reg.move()
		return // whoever was given it just now has until the next round to use it
	}
	if s.ahead(); l.look.Settled() && s.spare() != nil {
		l.end(Closed, ErrClosed)
	}
}
