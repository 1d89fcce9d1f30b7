package lock

import (
	"context"
	"errors"
	"fmt"

	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/lease"
)

// MaxPermits is the largest number of permits of a [Semaphore]. An acquisition reads
// the keys of those who hold permits, so the cost grows with their number.
const MaxPermits = 1 << 20

// Semaphore is a number of permits that acquisitions share. They are served in the order in
// which they came, so that small ones do not starve a large one. Use [NewSemaphore]; the
// zero value is not valid.
//
// The permits of a lost holder come back when its lease ends. Tokens of holders only
// identify them.
type Semaphore struct {
	queue   *queue.Queue
	prefix  string
	permits int
}

// NewSemaphore returns the semaphore of the given name, for which the rules of
// [NewMutex] hold, with 1 to [MaxPermits] permits. All users of the name have to agree
// on their number. It makes no request. The only option is [WithOwner].
func NewSemaphore(s *lease.Session, name string, permits int, opts ...Option) (*Semaphore, error) {
	if permits < 1 || permits > MaxPermits {
		return nil, fmt.Errorf("lock: %d permits: must be from 1 to %d", permits, MaxPermits)
	}
	q, _, err := newQueue(s, kindSemaphore, name, opts)
	if err != nil {
		return nil, err
	}
	return &Semaphore{queue: q, prefix: queue.Prefix(name, kindSemaphore), permits: permits}, nil
}

// Acquire waits for n permits, from 1 to as many as there are, and returns the hold on
// them; Unlock gives them back. It fails as [Mutex.Lock] does, and with a [*PermitsError]
// if the current users count with another number of permits.
func (s *Semaphore) Acquire(ctx context.Context, n int) (*Hold, error) {
	q, err := s.asking(n)
	if err != nil {
		return nil, err
	}
	h, err := acquire(ctx, q)
	return h, s.explain(err)
}

// TryAcquire takes n permits if they are available and nobody waits, in two round trips.
// Otherwise it returns a [*LockedError] that names the oldest holder, after one round trip,
// and nothing is stored in etcd. Other than that it fails as Acquire does.
//
// If others take the permits between the two, it gives up its place and asks again. Each
// time costs two more round trips, during one of which it stands in the queue. With many
// callers at once, each makes no more than four, as long as no more acquisitions come and
// go meanwhile than there are callers.
func (s *Semaphore) TryAcquire(ctx context.Context, n int) (*Hold, error) {
	q, err := s.asking(n)
	if err != nil {
		return nil, err
	}
	h, err := try(ctx, q)
	return h, s.explain(err)
}

// Do calls fn with n permits held, as [Mutex.Do] does.
func (s *Semaphore) Do(ctx context.Context, n int, fn func(ctx context.Context, h *Hold) error) error {
	return does(ctx, func(ctx context.Context) (*Hold, error) { return s.Acquire(ctx, n) }, fn)
}

// TryDo is [Semaphore.Do] with TryAcquire.
func (s *Semaphore) TryDo(ctx context.Context, n int, fn func(ctx context.Context, h *Hold) error) error {
	return doesIf(ctx, func(ctx context.Context) (*Hold, error) { return s.TryAcquire(ctx, n) }, fn)
}

// asking returns the queue for acquisitions of n permits.
func (s *Semaphore) asking(n int) (*queue.Queue, error) {
	if n < 1 || n > s.permits {
		return nil, fmt.Errorf("lock: acquiring %d permits of %q: must be from 1 to %d", n, s.queue.Name, s.permits)
	}
	q := *s.queue
	q.Lanes = []queue.Lane{queue.Weighted(s.prefix, n, s.permits)}
	return &q, nil
}

// explain makes an error of the queue's about permits one of this package.
func (s *Semaphore) explain(err error) error {
	if other, ok := errors.AsType[*queue.PermitsError](err); ok {
		return &PermitsError{Name: s.queue.Name, Permits: s.permits, Agreed: other.Permits, Key: other.Key}
	}
	return err
}

// PermitsError is returned by a [Semaphore] whose number of permits differs from the one
// that the current users of the name count with.
type PermitsError struct {
	// Name is the semaphore's name.
	Name string
	// Permits is the number it was created with.
	Permits int
	// Agreed is the number that the current users count with.
	Agreed int
	// Key is the key of the oldest of them.
	Key string
}

// Error names both numbers.
func (e *PermitsError) Error() string {
	return fmt.Sprintf("lock: semaphore %q has %d permits here, but its users count with %d (key %q)", e.Name, e.Permits, e.Agreed, e.Key)
}
