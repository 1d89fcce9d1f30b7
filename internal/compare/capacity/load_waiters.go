package capacity

import (
	"context"
	"sync"
	"time"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// queued is the name that waiters wait for.
const queued = "queue"

// waiters all wait in one session for a mutex that another holds.
func waiters(largest int) load {
	return load{
		name: waiterLoad, largest: largest,
		probed: "hand-over",
		begin: func(ctx context.Context, r *rig) (crowd, error) {
			s, err := r.ownSession(ctx, noticed())
			if err != nil {
				return crowd{}, err
			}
			return queue(ctx, r, []*lease.Session{s}, largest)
		},
	}
}

// strangers wait as waiters do, each in a session of its own.
func strangers(largest int) load {
	return load{
		name: strangerLoad, largest: largest,
		probed: "hand-over",
		begin: func(ctx context.Context, r *rig) (crowd, error) {
			all, err := r.crowd(ctx, largest, noticed())
			if err != nil {
				return crowd{}, err
			}
			return queue(ctx, r, all, largest)
		},
	}
}

// noticeKey is the key under which the context of an acquisition has the channel that is
// told when it waits.
type noticeKey struct{}

// noticed lets acquisitions tell when they wait.
func noticed() lease.Option {
	return lease.WithObserver(lease.Observer{Waiting: func(e lease.Event) {
		if c, ok := e.Context.Value(noticeKey{}).(chan struct{}); ok {
			select {
			case c <- struct{}{}:
			default: // it had to queue again
			}
		}
	}})
}

// place is a grant and whose it is.
type place struct {
	hold    *lock.Hold
	session *lease.Session
}

// line is a queue of waiters behind a holder.
type line struct {
	holder  place
	granted chan place
	failed  chan error
	waiting sync.WaitGroup
}

// queue lets a session of its own hold the mutex that the sessions will wait for.
func queue(ctx context.Context, r *rig, sessions []*lease.Session, largest int) (crowd, error) {
	first, err := r.ownSession(ctx, noticed())
	if err != nil {
		return crowd{}, err
	}
	m, err := lock.NewMutex(first, queued)
	if err != nil {
		return crowd{}, err
	}
	h, err := m.Lock(ctx)
	l := &line{
		holder:  place{h, first},
		granted: make(chan place, largest), failed: make(chan error, largest), // nobody waits at the end
	}
	return crowd{
		add:   func(ctx context.Context, i int) error { return l.wait(ctx, sessions[i%len(sessions)]) },
		probe: l.handOver,
		end:   l.end,
	}, err
}

// wait returns once one more waits.
func (l *line) wait(ctx context.Context, s *lease.Session) error {
	m, err := lock.NewMutex(s, queued)
	if err != nil {
		return err
	}
	waits := make(chan struct{}, 1)
	lockCtx := context.WithValue(context.WithoutCancel(ctx), noticeKey{}, waits)
	l.waiting.Go(func() { // ends with the grant, or with the session
		h, err := m.Lock(lockCtx)
		if err != nil {
			l.failed <- err
			return
		}
		l.granted <- place{h, s}
	})
	select {
	case <-waits:
		return nil
	case err := <-l.failed:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// handOver gives the mutex to the next, says how long that took, and queues again.
func (l *line) handOver(ctx context.Context) (time.Duration, error) {
	last := l.holder
	begun := time.Now()
	if err := last.hold.Unlock(ctx); err != nil {
		return 0, err
	}
	select {
	case l.holder = <-l.granted:
	case err := <-l.failed:
		return 0, err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	took := time.Since(begun)
	return took, l.wait(ctx, last.session)
}

// end waits for those whose session was closed under them.
func (l *line) end(context.Context) error {
	l.waiting.Wait()
	return nil
}
