package lock

import (
	"context"

	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/lease"
)

// advance gives a lingering entry to the first waiter, or has one acquired if there is
// none. mu must be held.
func (s *station) advance() {
	if len(s.waiters) == 0 {
		return
	}
	if t, ok := s.takeLingering(s.waiters[0]); ok {
		s.deliver(t)
		return
	}
	if s.state == vacant {
		s.acquire(nil)
	}
}

// takeLingering makes w the holder of the entry that lingers, and reports whether there
// was one that was still good. mu must be held.
func (s *station) takeLingering(w *waiter) (t turn, ok bool) {
	if s.state != lingering {
		return turn{}, false
	}
	nobody := s.grant
	s.becomeVacant()
	s.sequence++
	ended := nobody.End()
	if ended == nil {
		return turn{}, false
	}
	t = s.passOn(ended, w, lease.ViaLinger)
	return t, t.err == nil
}

// passToFirst hands an entry to the first waiter, and reports whether it could: not if the
// lease has ended. mu must be held.
func (s *station) passToFirst(ended *queue.Ended, via lease.Via) bool {
	t := s.passOn(ended, s.waiters[0], via)
	if t.err == nil {
		s.deliver(t)
	}
	return t.err == nil
}

// deliver tells the first waiter that it is its turn. mu must be held.
func (s *station) deliver(t turn) {
	s.waiters[0].granted <- t
	s.waiters[0] = nil
	s.waiters = s.waiters[1:]
}

// passOn makes w the holder of an entry, or the station vacant if the lease has ended. mu
// must be held.
func (s *station) passOn(ended *queue.Ended, w *waiter, via lease.Via) turn {
	next, err := ended.PassOn(w.ctx, w.call, via, s.sequence)
	if err != nil {
		s.becomeVacant()
		return turn{err: err}
	}
	s.becomeHeld(next)
	return turn{grant: next, sequence: s.sequence}
}

// acquire starts the goroutine that waits in etcd for the first waiter, after giving up
// the entry of ended, if that is not nil. It reports whether it could: not once the session
// is closed, of which the waiters learn by themselves. mu must be held.
func (s *station) acquire(ended *queue.Ended) bool {
	s.stopWatching() // for the entry there was
	session := inside.Of(s.queue.Session)
	ctx, cancel := context.WithCancel(session.Context())
	s.becomeAcquiring(cancel)
	started := session.Go(func(context.Context) {
		defer cancel()
		g, err := s.acquired(ctx, ended)
		if unwanted := s.arrived(ctx, g, err); unwanted != nil {
			_ = unwanted.Remove(ctx) // the session finishes what fails
		}
	})
	if !started {
		s.becomeVacant()
		cancel()
	}
	return started
}

func (s *station) acquired(ctx context.Context, ended *queue.Ended) (*queue.Grant, error) {
	if ended != nil {
		return ended.Requeue(ctx)
	}
	return s.queue.Acquire(ctx)
}

// arrived takes what the goroutine that waited in etcd has got, and returns it if
// nobody wants it any more.
func (s *station) arrived(ctx context.Context, g *queue.Grant, err error) (unwanted *queue.Ended) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.becomeVacant()
	switch {
	case err == nil:
		s.sequence = 0
		return s.take(g)
	case ctx.Err() != nil: // everybody had left, but somebody may have come since
		s.advance()
	default:
		for _, w := range s.waiters {
			w.granted <- turn{err: err}
		}
		s.waiters = nil
	}
	return nil
}

// take gives a new entry to the first waiter or lets it linger, and returns it if nobody
// wants it. mu must be held.
func (s *station) take(g *queue.Grant) (unwanted *queue.Ended) {
	ended := g.End()
	switch {
	case ended == nil || len(s.waiters) > 0 && !s.passToFirst(ended, g.Via()):
		s.advance() // the lease has ended
	case s.state == vacant && !s.keep(ended):
		return ended
	}
	return nil
}

// unlock ends a holder's grant and disposes of the entry: it goes to the next waiter in
// memory while there are hand-offs left; after them the station queues again behind
// other processes; with nobody waiting, it lingers or is given up.
func (s *station) unlock(ctx context.Context, g *queue.Grant) error {
	before := ctx.Err()
	s.mu.Lock()
	ended := g.End()
	ctx, done := g.Outlive(ctx, before)
	defer done()
	if ended != nil {
		ctx = ended.Releasing(ctx)
	}
	disposed := ended == nil || s.dispose(ended)
	s.mu.Unlock()
	if !disposed {
		return ended.Remove(ctx)
	}
	return g.Release(ctx)
}

// dispose finds the entry of a holder that has ended its next user, or queues again for
// those who wait, and reports whether it did. mu must be held.
func (s *station) dispose(ended *queue.Ended) bool {
	s.becomeVacant()
	switch {
	case !ended.Clean:
		return s.requeue(ended)
	case len(s.waiters) == 0:
		return s.keep(ended)
	case s.sequence >= s.max:
		return s.requeue(ended)
	}
	s.sequence++
	if !s.passToFirst(ended, lease.ViaHandoff) {
		s.advance() // the lease has ended
	}
	return true
}

// requeue gives up an entry and queues again for those who wait; if nobody does, or the
// session is closed, it reports false and does nothing. mu must be held.
func (s *station) requeue(ended *queue.Ended) bool {
	s.stopWatching()
	return len(s.waiters) > 0 && s.acquire(ended)
}

// lost notes the loss of a grant. It is called with all sorts of locks held.
func (s *station) lost(*queue.Grant) {
	inside.Of(s.queue.Session).Go(func(context.Context) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forgetLost()
		s.advance()
	})
}

// forgetLost forgets the present grant if it was lost. mu must be held.
func (s *station) forgetLost() {
	if s.grant == nil || s.grant.Err() == nil {
		return
	}
	s.stopWatching()
	s.becomeVacant()
}
