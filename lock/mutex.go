package lock

import (
	"context"
	"errors"
	"fmt"

	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/lease"
)

// Mutex is a lock that at most one holder has at a time, among all clients of the etcd
// cluster that use its name. It does not belong to one holder: any number of goroutines may
// call Lock on one Mutex, and they exclude each other as different processes do. Use
// [NewMutex]; the zero value is not valid.
type Mutex struct {
	queue   *queue.Queue
	station *station // nil without local hand-off and linger
}

// NewMutex returns the mutex of the given name. It makes no request.
//
// The name may contain slashes; locks "a" and "a/b" are independent. It must be
// valid UTF-8 of 1 to [MaxName] bytes, without control characters, trailing slash,
// or a path segment that begins with "~"; [WithEtcdLayout] any name will do.
func NewMutex(s *lease.Session, name string, opts ...Option) (*Mutex, error) {
	q, c, err := newQueue(s, kindMutex, name, opts)
	if err != nil {
		return nil, err
	}
	q.Lanes = []queue.Lane{queue.Exclusive(c.prefix(name))}
	if c.delay > 0 {
		q.Delay = queue.NewDelay(name, kindMutex, c.delay)
	}
	m := &Mutex{queue: q}
	if c.handoffs > 0 || c.linger > 0 {
		if m.station, err = stationOf(q, c.prefix(name), c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Lock waits for the lock and returns the hold on it. Callers are served in the
// order in which their requests reached etcd. A lease lost while waiting only costs
// the place in the queue.
//
// It fails when ctx ends (its error then Is ctx.Err()), when the session has been closed
// ([lease.ErrClosed]), or when the server refuses, for example for lack of permission. Then
// nothing is held; what was written is removed in the background.
func (m *Mutex) Lock(ctx context.Context) (*Hold, error) {
	if m.station == nil {
		return acquire(ctx, m.queue)
	}
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	h, err := m.station.lock(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock: locking %q: %w", m.queue.Name, err)
	}
	return h, nil
}

// Resume takes up an existing acquisition again, by its key and its create revision (that
// of its [Hold.Token]), waits for the lock if it does not have it yet, and returns the
// hold. The key must be attached to the session's lease; in a restarted process, that is a
// session on the lease of its predecessor. The key must not be in use in this process, and
// the mutex must be without local hand-off and linger.
//
// It fails as Lock does, and with [ErrLost] if there is no such key on that lease. If it
// fails after it has found the key, it gives the acquisition up, as Lock does.
func (m *Mutex) Resume(ctx context.Context, key string, revision int64) (*Hold, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	if m.station != nil {
		return nil, fmt.Errorf("lock: resuming %q: not with WithLocalHandoff or WithLinger", key)
	}
	g, err := m.queue.Resume(ctx, key, revision)
	if err != nil {
		return nil, fmt.Errorf("lock: resuming %q: %w", key, err)
	}
	return &Hold{grant: g}, nil
}

// TryLock takes the lock if nobody has it or waits for it, in one round trip. Otherwise it
// returns a [*LockedError] that names the owner, and nothing is stored in etcd. Other than
// that it fails as Lock does.
func (m *Mutex) TryLock(ctx context.Context) (*Hold, error) {
	if m.station == nil {
		return try(ctx, m.queue)
	}
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	h, err := m.station.try(ctx)
	if err != nil && !errors.Is(err, ErrLocked) {
		return nil, fmt.Errorf("lock: trying to lock %q: %w", m.queue.Name, err)
	}
	return h, err
}

// Do calls fn with the lock held. fn's context is derived from ctx and ends with the hold.
// The lock is released when fn returns, and when it panics. Do waits for that even if ctx
// is done by then, within the session's grace ([lease.WithGrace]), so that the next is
// granted although this process is about to end; after that, or if the server cannot be
// reached, the release goes on in the background.
//
// Do returns fn's error, joined with [ErrLost] if the hold ended first, even if fn returned
// nil: whatever fn did after that was unprotected. If the lock could not be taken, fn is
// not called and Lock's error is returned.
func (m *Mutex) Do(ctx context.Context, fn func(ctx context.Context, h *Hold) error) error {
	return does(ctx, m.Lock, fn)
}

// TryDo is [Mutex.Do] with TryLock.
func (m *Mutex) TryDo(ctx context.Context, fn func(ctx context.Context, h *Hold) error) error {
	return doesIf(ctx, m.TryLock, fn)
}
