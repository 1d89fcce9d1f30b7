package lock

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/lease"
)

// RWMutex is a lock that any number of readers hold at a time, or one writer. It is fair:
// nobody overtakes an earlier writer, so writers do not starve, and a reader waits only for
// the writers ahead of it. Use [NewRWMutex]; the zero value is not valid.
//
// Tokens of writers are fencing tokens; those of readers only identify them.
type RWMutex struct {
	client      *clientv3.Client
	prefix      string
	write, read *queue.Queue
}

// NewRWMutex returns the readers-writer lock of the given name, for which the rules of
// [NewMutex] hold. It makes no request. It is independent of a [Mutex] of the same
// name. The only option is [WithOwner].
func NewRWMutex(s *lease.Session, name string, opts ...Option) (*RWMutex, error) {
	write, _, err := newQueue(s, kindRW, name, opts)
	if err != nil {
		return nil, err
	}
	read := *write
	write.Kind, read.Kind = kindRW+".write", kindRW+".read"
	m := &RWMutex{client: s.Client(), prefix: queue.Prefix(name, kindRW), write: write, read: &read}
	write.Lanes = []queue.Lane{queue.Writer(m.prefix)}
	read.Lanes = []queue.Lane{queue.Reader(m.prefix)}
	return m, nil
}

// Lock waits for the lock for writing, as [Mutex.Lock] does. With a context that came
// from [RWMutex.RDo] of the same lock it returns [ErrUpgrade] at once.
func (m *RWMutex) Lock(ctx context.Context) (*Hold, error) {
	if err := m.refuseUpgrade(ctx); err != nil {
		return nil, err
	}
	return acquire(ctx, m.write)
}

// TryLock takes the lock for writing if nobody has it or waits for it, as
// [Mutex.TryLock] does.
func (m *RWMutex) TryLock(ctx context.Context) (*Hold, error) {
	if err := m.refuseUpgrade(ctx); err != nil {
		return nil, err
	}
	return try(ctx, m.write)
}

// RLock waits for the lock for reading: for every earlier writer. It fails as [Mutex.Lock]
// does. A reader must not ask for the lock again: a writer may have queued in between, and
// both would wait for each other.
func (m *RWMutex) RLock(ctx context.Context) (*Hold, error) { return acquire(ctx, m.read) }

// TryRLock takes the lock for reading if no writer has it or waits for it, in one
// round trip, and otherwise returns a [*LockedError] that names a writer.
func (m *RWMutex) TryRLock(ctx context.Context) (*Hold, error) { return try(ctx, m.read) }

// Do calls fn with the lock held for writing, as [Mutex.Do] does.
func (m *RWMutex) Do(ctx context.Context, fn func(ctx context.Context, h *Hold) error) error {
	return does(ctx, m.Lock, fn)
}

// TryDo is [RWMutex.Do] with TryLock.
func (m *RWMutex) TryDo(ctx context.Context, fn func(ctx context.Context, h *Hold) error) error {
	return doesIf(ctx, m.TryLock, fn)
}

// RDo calls fn with the lock held for reading, as [Mutex.Do] does. fn's context refuses
// to be used for locking the same lock for writing.
func (m *RWMutex) RDo(ctx context.Context, fn func(ctx context.Context, h *Hold) error) error {
	if err := checkFunc(fn); err != nil {
		return err
	}
	return does(ctx, m.RLock, m.marking(fn))
}

// TryRDo is [RWMutex.RDo] with TryRLock.
func (m *RWMutex) TryRDo(ctx context.Context, fn func(ctx context.Context, h *Hold) error) error {
	if err := checkFunc(fn); err != nil {
		return err
	}
	return doesIf(ctx, m.TryRLock, m.marking(fn))
}

// Downgrade turns a hold for writing into one for reading in one write, and no other writer
// can get in between. h ends at once, with [ErrReleased]; Unlock of h then does nothing.
// Waiting readers ahead of the next writer are let in.
//
// If ctx is already done it fails, and h goes on; a ctx that ends with h will do. If it
// fails because h was lost ([ErrLost]), ctx ended meanwhile or the server refused, nothing
// is held; what is left is removed in the background. h must be a writer's hold of this
// RWMutex that has not ended.
func (m *RWMutex) Downgrade(ctx context.Context, h *Hold) (*Hold, error) {
	switch {
	case ctx == nil:
		return nil, checkContext(ctx)
	case h == nil:
		return nil, errors.New("lock: hold is nil: must come from RWMutex.Lock")
	case h.grant.Queue() != m.write:
		return nil, fmt.Errorf("lock: downgrading %q: hold %q is not for writing it", m.write.Name, h.Key())
	}
	g, err := h.grant.Downgrade(ctx, m.read)
	if err != nil {
		return nil, fmt.Errorf("lock: downgrading %q: %w", m.write.Name, err)
	}
	return &Hold{grant: g}, nil
}

// ErrUpgrade is returned by [RWMutex.Lock] and TryLock with a context that comes from
// [RWMutex.RDo]. A reader cannot become a writer: it would wait for itself to leave, and
// two who try would wait for each other. Leave RDo first, then lock for writing, and check
// again what was read. To go from writing to reading there is [RWMutex.Downgrade].
var ErrUpgrade = errors.New("lock: upgrade from reading to writing would deadlock")

// reading is the key of a context's value that tells which hold it belongs to.
type reading struct {
	client *clientv3.Client
	prefix string
}

// marking makes the context that fn gets tell that the lock is held for reading.
func (m *RWMutex) marking(fn func(context.Context, *Hold) error) func(context.Context, *Hold) error {
	return func(ctx context.Context, h *Hold) error {
		return fn(context.WithValue(ctx, reading{m.client, m.prefix}, h), h)
	}
}

func (m *RWMutex) refuseUpgrade(ctx context.Context) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	h, ok := ctx.Value(reading{m.client, m.prefix}).(*Hold)
	if ok && h.Err() == nil {
		return fmt.Errorf("%w: %q is held for reading by %q", ErrUpgrade, m.write.Name, h.Key())
	}
	return nil
}
