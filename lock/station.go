package lock

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
	"weak"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/lease"
)

// station is where the goroutines of one session queue for one name behind a single
// entry in etcd, which it hands from one to the next in memory. Its states are in
// station_state.go.
type station struct {
	queue  *queue.Queue
	max    int
	linger time.Duration

	mu      sync.Mutex
	waiters []*waiter // the first to come first
	state   stationState
	// stop stops the goroutine that waits in etcd, while acquiring.
	stop context.CancelFunc
	// grant is that of the holder while held, and of nobody while lingering.
	grant *queue.Grant
	// sequence counts the hand-offs of the grant's entry.
	sequence int
	// timer ends the lingering.
	timer *time.Timer
	// wanted is set once another process is known to queue behind the present
	// entry, and unwatch stops looking for one; it is nil if nobody looks.
	wanted  bool
	unwatch context.CancelFunc
}

// waiter is a call of Lock.
type waiter struct {
	ctx  context.Context
	call *queue.Call
	// granted delivers the result, once.
	granted chan turn
}

// turn is what a waiter gets.
type turn struct {
	grant    *queue.Grant
	sequence int
	err      error
}

// stationKey is the key of a station among what the users of a session share.
type stationKey struct{ prefix string }

// stationOf returns the station of the session and lock that q is for, and that all
// mutexes with the same settings share.
func stationOf(q *queue.Queue, prefix string, c config) (*station, error) {
	fresh := &station{max: c.handoffs, linger: c.linger}
	own := *q
	own.Lost, own.Waits, own.Quiet = fresh.lost, fresh.waits, true
	fresh.queue = &own
	shared, key := inside.Of(q.Session).Shared(), stationKey{prefix}
	for {
		found, loaded := shared.LoadOrStore(key, weak.Make(fresh))
		if !loaded {
			runtime.AddCleanup(fresh, func(p weak.Pointer[station]) { shared.CompareAndDelete(key, p) }, weak.Make(fresh))
			return fresh, nil
		}
		pointer, _ := found.(weak.Pointer[station])
		s := pointer.Value()
		switch {
		case s == nil: // nobody has used it any more; its cleanup is about to run
			shared.CompareAndDelete(key, found)
		case s.max != fresh.max || s.linger != fresh.linger || s.queue.Owner != own.Owner || s.queue.Delay.Length() != own.Delay.Length():
			return nil, fmt.Errorf("lock: mutex %q of this session is in use with %v: it cannot have %v", q.Name, s, fresh)
		default:
			return s, nil
		}
	}
}

// String describes the settings that all users of a station agree on.
func (s *station) String() string {
	return fmt.Sprintf("%d local hand-offs, %v of lingering, a lock delay of %v and owner %q", s.max, s.linger, s.queue.Delay.Length(), s.queue.Owner)
}

// lock waits for the caller's turn.
func (s *station) lock(ctx context.Context) (*Hold, error) {
	w := &waiter{}
	w.call, w.ctx = s.queue.Begin(ctx)
	h, err := s.await(w)
	w.call.Failed(err)
	return h, err
}

func (s *station) await(w *waiter) (*Hold, error) {
	ctx := w.ctx
	if ctx.Err() != nil {
		return nil, attempt.Ended(ctx, nil)
	}
	if t, ok := s.enter(w); ok {
		return s.hold(t)
	}
	select {
	case t := <-w.granted:
		return s.hold(t)
	case <-ctx.Done():
	case <-inside.Of(s.queue.Session).Context().Done():
	}
	if s.remove(w) {
		if ctx.Err() == nil {
			return nil, context.Cause(inside.Of(s.queue.Session).Context())
		}
		return nil, attempt.Ended(ctx, nil)
	}
	return s.hold(<-w.granted)
}

// enter makes w the holder if the entry lingers, and otherwise puts it in the line.
func (s *station) enter(w *waiter) (t turn, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiters) == 0 {
		if t, ok = s.takeLingering(w); ok {
			return t, true
		}
	}
	w.granted = make(chan turn, 1)
	if s.grant != nil || len(s.waiters) > 0 { // else etcd will say whether it waits
		s.tellWaiting(w)
	}
	s.waiters = append(s.waiters, w)
	s.advance()
	return turn{}, false
}

// try takes the lock if nobody of this process has it or waits for it, and nobody else
// is in etcd's queue.
func (s *station) try(ctx context.Context) (*Hold, error) {
	w := &waiter{}
	w.call, w.ctx = s.queue.Begin(ctx)
	h, err := s.tryNow(w)
	if errors.Is(err, ErrLocked) {
		w.call.Taken(err)
	} else {
		w.call.Failed(err)
	}
	return h, err
}

func (s *station) tryNow(w *waiter) (*Hold, error) {
	if w.ctx.Err() != nil {
		return nil, attempt.Ended(w.ctx, nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetLost()
	if s.state == held || s.state == acquiring || len(s.waiters) > 0 {
		return nil, s.locked()
	}
	if t, ok := s.takeLingering(w); ok {
		return s.hold(t)
	}
	return s.hold(s.tryEtcd(w))
}

// tryEtcd asks etcd for the lock, as the goroutine that acquires; others wait for its
// outcome. mu must be held, and is released meanwhile.
func (s *station) tryEtcd(w *waiter) turn {
	s.stopWatching()
	s.becomeAcquiring(func() {}) // it is bounded by its own ctx
	defer s.advance()
	for {
		s.mu.Unlock()
		g, head, taken, err := s.queue.TryAcquire(w.ctx)
		s.mu.Lock()
		switch {
		case err != nil:
			s.becomeVacant()
			return turn{err: err}
		case taken:
			s.becomeVacant()
			return turn{err: newLockedError(s.queue.Name, head)}
		}
		s.sequence = 0
		if ended := g.End(); ended != nil {
			if t := s.passOn(ended, w, lease.ViaFree); t.err == nil {
				return t
			}
			s.becomeAcquiring(func() {})
		}
		// The lease has ended: there will be another.
	}
}

// locked says that this process has the lock.
func (s *station) locked() error {
	e := &LockedError{Name: s.queue.Name, Owner: s.queue.Owner}
	if s.grant != nil {
		e.Key, e.Token = s.grant.Key(), newToken(s.grant.Revision())|Token(s.sequence)
	}
	return e
}

func (s *station) hold(t turn) (*Hold, error) {
	if t.err != nil {
		return nil, t.err
	}
	return &Hold{grant: t.grant, station: s, sequence: t.sequence}, nil
}

// remove takes a waiter out of the line and reports whether it was there: else it has
// been granted. If nobody is left, nobody need be acquiring.
func (s *station) remove(w *waiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.waiters, w)
	if i < 0 {
		return false
	}
	s.waiters = slices.Delete(s.waiters, i, i+1)
	if len(s.waiters) == 0 && s.state == acquiring {
		s.stop()
	}
	return true
}

// tellWaiting tells the observer that w waits behind what this process has or queues
// for. mu must be held.
func (s *station) tellWaiting(w *waiter) {
	var e lease.Event
	if s.grant != nil {
		e.Predecessor, e.Followed = s.grant.Key(), s.grant.Revision()
	}
	w.call.Waiting(e)
}

// waits tells the observer that all who wait here do, as e says of the entry that one of
// them will have.
func (s *station) waits(e lease.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.waiters {
		w.call.Waiting(e)
	}
}
