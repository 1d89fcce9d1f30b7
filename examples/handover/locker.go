package main

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// locker is what a worker asks of a lock, whichever library it comes from.
type locker interface {
	ttl() time.Duration
	lock(ctx context.Context) (holding, error)
	close(ctx context.Context) error
}

// holding is a lock that is held.
type holding interface {
	key() string
	token() string
	left() time.Duration   // until the deadline; negative after it, 0 if there is none
	guard() []clientv3.Cmp // true only while the lock is held
	done() <-chan struct{} // closed when the holder is told that it lost the lock
	cause() error
	unlock(ctx context.Context) error
}

// conclaveLocker is lock.Mutex.
type conclaveLocker struct {
	session *lease.Session
	mutex   *lock.Mutex
	granted time.Duration
}

// newConclaveLocker reports each key that waits in the queue to waiting.
func newConclaveLocker(ctx context.Context, client *clientv3.Client, j job, waiting func(key string)) (*conclaveLocker, error) {
	session, err := lease.NewSession(ctx, client,
		lease.WithTTL(j.TTL),
		lease.WithObserver(lease.Observer{Waiting: func(e lease.Event) { waiting(e.Key) }}),
	)
	if err != nil {
		return nil, err
	}
	l, err := session.Lease(ctx)
	if err != nil {
		return nil, err
	}
	mutex, err := lock.NewMutex(session, j.Name, lock.WithOwner(j.Worker))
	if err != nil {
		return nil, err
	}
	return &conclaveLocker{session: session, mutex: mutex, granted: l.TTL()}, nil
}

func (c *conclaveLocker) ttl() time.Duration { return c.granted }

func (c *conclaveLocker) lock(ctx context.Context) (holding, error) {
	h, err := c.mutex.Lock(ctx)
	if err != nil {
		return nil, err
	}
	return conclaveHolding{h}, nil
}

func (c *conclaveLocker) close(ctx context.Context) error {
	if err := c.session.Close(ctx); err != nil {
		return fmt.Errorf("closing the session: %w", err)
	}
	return nil
}

// conclaveHolding is lock.Hold.
type conclaveHolding struct{ hold *lock.Hold }

func (h conclaveHolding) key() string                      { return h.hold.Key() }
func (h conclaveHolding) token() string                    { return h.hold.Token().String() }
func (h conclaveHolding) left() time.Duration              { return time.Until(h.hold.Deadline()) }
func (h conclaveHolding) guard() []clientv3.Cmp            { return h.hold.Guard() }
func (h conclaveHolding) done() <-chan struct{}            { return h.hold.Context().Done() }
func (h conclaveHolding) cause() error                     { return context.Cause(h.hold.Context()) }
func (h conclaveHolding) unlock(ctx context.Context) error { return h.hold.Unlock(ctx) }
