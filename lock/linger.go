package lock

import (
	"context"
	"time"

	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/queue"
)

// rest keeps the entry of a grant that was left for the next who comes, and reports
// whether it does. mu must be held.
func (s *station) rest(g *queue.Grant) bool {
	if s.linger == 0 || s.wanted || s.sequence >= maxSequence {
		s.stopWatching()
		return false
	}
	nobody, err := g.Rest()
	if err != nil { // the lease has ended, and the entry with it
		return true
	}
	s.current = nobody
	s.idle = time.AfterFunc(s.linger, func() {
		inside.Of(s.queue.Session).Go(func(ctx context.Context) { s.expire(ctx, nobody) })
	})
	s.watch(nobody)
	return true
}

// rouse ends the lingering and returns the grant of nobody. mu must be held.
func (s *station) rouse() *queue.Grant {
	g := s.current
	s.idle.Stop()
	s.idle, s.current = nil, nil
	return g
}

// expire gives up the entry if it still lingers for nobody.
func (s *station) expire(ctx context.Context, nobody *queue.Grant) {
	s.mu.Lock()
	lingers := s.idle != nil && s.current == nobody
	if lingers {
		s.stopWatching()
		s.rouse()
		lingers, _ = nobody.Leave()
	}
	s.mu.Unlock()
	if lingers {
		_ = nobody.Drop(ctx) // the session finishes what fails
	}
}

// watch has a goroutine look for other processes that queue behind the entry of g. mu
// must be held.
func (s *station) watch(g *queue.Grant) {
	if s.unwatch != nil {
		return
	}
	ctx, cancel := context.WithCancel(inside.Of(s.queue.Session).Context())
	s.unwatch = cancel
	inside.Of(s.queue.Session).Go(func(context.Context) {
		defer cancel()
		if g.AwaitOther(ctx) == nil {
			s.want(ctx)
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
	nobody, lingers := s.current, s.idle != nil
	s.mu.Unlock()
	if lingers {
		s.expire(inside.Of(s.queue.Session).Context(), nobody)
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
