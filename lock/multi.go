package lock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/lease"
)

// MaxNames is how many names a [Multi] can have: as many as fit into one transaction at
// etcd's default limit.
const MaxNames = 64

// Multi is the mutexes of several names, taken together: all or none. It excludes
// each [Mutex] of those names. Use [NewMulti]; the zero value is not valid.
//
// An acquisition enters all queues at one revision. So of any two acquisitions the same one
// is first wherever they meet, and callers who hold nothing else cannot deadlock, as they
// can when they take the locks one by one.
//
// It waits for the delays of its names, see [WithLockDelay], and leaves none itself.
type Multi struct {
	queue *queue.Queue
	names []string
}

// NewMulti returns the lock of 1 to [MaxNames] different names, for each of which the
// rules of [NewMutex] hold. It makes no request. The only option is [WithOwner].
func NewMulti(s *lease.Session, names []string, opts ...Option) (*Multi, error) {
	if len(names) < 1 || len(names) > MaxNames {
		return nil, fmt.Errorf("lock: %d names: must be from 1 to %d", len(names), MaxNames)
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return nil, fmt.Errorf("lock: name %q is given twice: names must be different", name)
		}
		if err := checkName(name); err != nil {
			return nil, err
		}
	}
	q, _, err := newQueue(s, kindMulti, names[0], opts)
	if err != nil {
		return nil, err
	}
	m := &Multi{queue: q, names: slices.Clone(names)}
	q.Name = strings.Join(names, ", ")
	q.Delay = queue.MindDelays(names, kindMutex)
	for _, name := range names {
		q.Lanes = append(q.Lanes, queue.Exclusive(queue.Prefix(name, kindMutex)))
	}
	return m, nil
}

// Lock waits for all of the locks and returns one hold on them, as [Mutex.Lock] does. While
// it waits it is in all queues. It costs as much as one Mutex, in larger transactions, and
// one wait for each name that is taken.
//
// The hold is lost as a whole: when one of its keys is deleted, the others are given
// up. Its token is valid for every name.
func (m *Multi) Lock(ctx context.Context) (*Hold, error) { return acquire(ctx, m.queue) }

// TryLock takes all of the locks if nobody has any of them or waits for it, in one round
// trip. Otherwise it returns a [*LockedError] that names the first that is taken, and
// nothing is stored in etcd. If a name has a lock delay, it takes another round trip to
// find the lost owner.
func (m *Multi) TryLock(ctx context.Context) (*Hold, error) {
	h, err := try(ctx, m.queue)
	if locked, ok := errors.AsType[*LockedError](err); ok {
		locked.Name = nameOf(m.names, locked.Key)
	}
	return h, err
}

// Do calls fn with all of the locks held, as [Mutex.Do] does.
func (m *Multi) Do(ctx context.Context, fn func(ctx context.Context, h *Hold) error) error {
	return does(ctx, m.Lock, fn)
}

// TryDo is [Multi.Do] with TryLock.
func (m *Multi) TryDo(ctx context.Context, fn func(ctx context.Context, h *Hold) error) error {
	return doesIf(ctx, m.TryLock, fn)
}
