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
	if len(s.waiters) == 0 || s.acquiring != nil {
		return
	}
	if t, ok := s.wake(s.waiters[0]); ok {
		s.deliver(t)
		return
	}
	if s.current == nil {
		s.acquire(nil)
	}
}

// wake makes w the holder of the entry that lingers, and reports whether there was one
// that was still good. mu must be held.
func (s *station) wake(w *waiter) (t turn, ok bool) {
	if s.idle == nil {
		return turn{}, false
	}
	g := s.rouse()
	s.sequence++
	if left, _ := g.Leave(); !left {
		return turn{}, false
	}
	t = s.pass(g, w, lease.ViaLinger)
	return t, t.err == nil
}

// give hands an entry, of a grant that was left, to the first waiter, and reports
// whether it could: not if the lease has ended. mu must be held.
func (s *station) give(g *queue.Grant, via lease.Via) bool {
	t := s.pass(g, s.waiters[0], via)
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

// pass makes w the holder of an entry, of a grant that was left. mu must be held.
func (s *station) pass(g *queue.Grant, w *waiter, via lease.Via) turn {
	next, err := g.Next(w.ctx, w.call, via, s.sequence)
	s.current = next
	return turn{grant: next, sequence: s.sequence, err: err}
}

// acquire starts the goroutine that waits in etcd for the first waiter, after giving up
// the entry of a grant that was left, if that is not nil. It reports whether it could:
// not once the session is closed, of which the waiters learn by themselves. mu must be
// held.
func (s *station) acquire(previous *queue.Grant) bool {
	s.stopWatching() // for the entry there was
	ctx, cancel := context.WithCancel(inside.Of(s.queue.Session).Context())
	s.acquiring = cancel
	started := inside.Of(s.queue.Session).Go(func(context.Context) {
		defer cancel()
		g, err := s.acquired(ctx, previous)
		if left := s.arrived(ctx, g, err); left != nil {
			_ = left.Drop(ctx) // the session finishes what fails
		}
	})
	if !started {
		s.acquiring = nil
		cancel()
	}
	return started
}

func (s *station) acquired(ctx context.Context, previous *queue.Grant) (*queue.Grant, error) {
	if previous != nil {
		return s.queue.Reacquire(ctx, previous)
	}
	return s.queue.Acquire(ctx)
}

// arrived takes what the goroutine that waited in etcd has got, and returns it if
// nobody wants it any more, left.
func (s *station) arrived(ctx context.Context, g *queue.Grant, err error) (left *queue.Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acquiring = nil
	switch {
	case err == nil:
		s.sequence = 0
		return s.settle(g)
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

// settle gives a new entry to the first waiter or lets it linger, and returns it if
// nobody wants it, left. mu must be held.
func (s *station) settle(g *queue.Grant) (left *queue.Grant) {
	ok, _ := g.Leave()
	switch {
	case !ok || len(s.waiters) > 0 && !s.give(g, g.Via()):
		s.advance() // the lease has ended
	case s.current == nil && !s.rest(g):
		return g
	}
	return nil
}

// unlock ends a holder's grant and disposes of the entry: it goes to the next waiter in
// memory while there are hand-offs left; after them the station queues again behind
// other processes; with nobody waiting, it lingers or is given up.
func (s *station) unlock(ctx context.Context, g *queue.Grant) error {
	before := ctx.Err()
	s.mu.Lock()
	left, clean := g.Leave()
	ctx, done := g.Outlive(ctx, before)
	defer done()
	if left {
		ctx = g.Releasing(ctx)
	}
	disposed := !left
	switch {
	case left && clean:
		disposed = s.handOn(g)
	case left:
		disposed = s.replace(g)
	}
	s.mu.Unlock()
	if !disposed {
		return g.Drop(ctx)
	}
	return g.Release(ctx)
}

// handOn finds the entry of a grant that was left its next user, and reports whether
// there is one. mu must be held.
func (s *station) handOn(g *queue.Grant) bool {
	switch s.current = nil; {
	case len(s.waiters) == 0:
		return s.rest(g)
	case s.sequence >= s.max:
		return s.replace(g)
	}
	s.sequence++
	if !s.give(g, lease.ViaHandoff) {
		s.advance() // the lease has ended
	}
	return true
}

// replace gives up the entry of a grant that was left, and queues again for those who
// wait; if nobody does, or the session is closed, it reports false and does nothing. mu
// must be held.
func (s *station) replace(g *queue.Grant) bool {
	s.current = nil
	s.stopWatching()
	return len(s.waiters) > 0 && s.acquire(g)
}

// lost notes the loss of a grant. It is called with all sorts of locks held.
func (s *station) lost(*queue.Grant) {
	inside.Of(s.queue.Session).Go(func(context.Context) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.dismiss()
		s.advance()
	})
}

// dismiss forgets the current grant if it was lost. mu must be held.
func (s *station) dismiss() {
	if s.current == nil || s.current.Err() == nil {
		return
	}
	s.stopWatching()
	if s.idle != nil {
		s.rouse()
	}
	s.current = nil
}
