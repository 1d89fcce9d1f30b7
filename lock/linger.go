package lock

import (
	"context"
	"time"

	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/queue"
)

// keep keeps an entry for the next who comes, and reports whether it does. mu must be
// held.
func (s *station) keep(ended *queue.Ended) bool {
	closed := inside.Of(s.queue.Session).Context().Err() != nil
	if s.linger == 0 || s.wanted || s.sequence >= maxSequence || closed {
		s.stopWatching()
		return false
	}
	nobody, err := ended.Keep()
	if err != nil { // the lease has ended, and the entry with it
		return true
	}
	s.becomeLingering(nobody, time.AfterFunc(s.linger, func() {
		inside.Of(s.queue.Session).Go(func(ctx context.Context) { s.expire(ctx, nobody) })
	}))
	s.watch(nobody)
	return true
}

// expire gives up the entry if it still lingers for nobody.
func (s *station) expire(ctx context.Context, nobody *queue.Grant) {
	s.mu.Lock()
	var ended *queue.Ended
	if s.state == lingering && s.grant == nobody {
		s.stopWatching()
		s.becomeVacant()
		ended = nobody.End()
	}
	s.mu.Unlock()
	if ended != nil {
		_ = ended.Remove(ctx) // the session finishes what fails
	}
}

// watch has a goroutine look for other processes that queue behind the entry of g, and for
// the end of the session. mu must be held.
func (s *station) watch(g *queue.Grant) {
	if s.unwatch != nil {
		return
	}
	ctx, cancel := context.WithCancel(inside.Of(s.queue.Session).Context())
	s.unwatch = cancel
	session := inside.Of(s.queue.Session).Context()
	g.Background(func(within context.Context) {
		defer cancel()
		if g.AwaitOther(ctx) == nil {
			s.want(ctx)
		}
		if session.Err() != nil && s.queue.Delay.Length() > 0 {
			s.giveUp(within) // the mark does not go with the lease
		}
	})
}

// want notes that another process queues behind the entry that ctx's watch was for, and
// gives it up if it lingers.
func (s *station) want(ctx context.Context) {
	s.mu.Lock()
	if ctx.Err() != nil {
		s.mu.Unlock()
		return
	}
	s.wanted = true
	s.mu.Unlock()
	s.giveUp(inside.Of(s.queue.Session).Context())
}

// giveUp gives up the entry if it lingers.
func (s *station) giveUp(ctx context.Context) {
	s.mu.Lock()
	nobody, lingers := s.grant, s.state == lingering
	s.mu.Unlock()
	if lingers {
		s.expire(ctx, nobody)
	}
}

// stopWatching ends the look for other processes, as the entry is given up. mu must be
// held.
func (s *station) stopWatching() {
	if s.unwatch != nil {
		s.unwatch()
		s.unwatch = nil
	}
	s.wanted = false
}
