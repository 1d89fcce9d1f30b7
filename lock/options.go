package lock

import (
	"errors"
	"fmt"
	"time"

	"github.com/conclave-go/conclave/internal/queue"
)

const (
	// MaxName is the longest name of a lock in bytes.
	MaxName = queue.MaxName
	// MaxOwner is the longest owner in bytes. It is stored with every
	// acquisition.
	MaxOwner = queue.MaxOwner
	// MaxHandoffs is the largest number of successive local hand-offs. They are
	// counted in the low bits of a token.
	MaxHandoffs = maxSequence / 2
	// MinLinger is the shortest [WithLinger]: below it, a key would be gone before it is of
	// any use.
	MinLinger = time.Millisecond
	// MaxLinger is the longest: above it, a process that stops looking would keep others
	// waiting for too long.
	MaxLinger = time.Minute
	// MaxLockDelay is the limit of [WithLockDelay]: as long as a TTL can be.
	MaxLockDelay = 5 * time.Minute
)

// The kinds of locks: what their keys' segments and their events' kinds are made of.
const (
	kindMutex     = "mutex"
	kindRW        = "rwmutex"
	kindSemaphore = "semaphore"
	kindMulti     = "multi"
)

// Option configures a lock.
type Option interface{ apply(*config) error }

type config struct {
	owner  string
	layout bool
	// handoffs, linger and delay are those of the options; 0 is none.
	handoffs int
	linger   time.Duration
	delay    time.Duration
	// mutexOnly names the last option given, but for the layout, that only a Mutex
	// takes.
	mutexOnly string
}

type option func(*config) error

func (o option) apply(c *config) error { return o(c) }

// WithOwner sets what acquisitions call their owner, for people who look at the queue and
// for [LockedError]: at most [MaxOwner] bytes, "host:pid" by default.
func WithOwner(owner string) Option {
	return option(func(c *config) error {
		if err := queue.CheckOwner(owner); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
		c.owner = owner
		return nil
	})
}

// WithEtcdLayout puts keys where clientv3/concurrency and etcdctl lock put theirs, directly
// under the name, so that both can stand in one queue while a fleet migrates. All users of
// the name must agree on the layout. In it any name that the other library takes will do,
// byte for byte: an empty one, one that ends with a slash, or any other bytes. A lock "a"
// also waits for the holders of a lock "a/b", as in that library.
func WithEtcdLayout() LayoutOption { return layoutOption{} }

// WithLocalHandoff lets goroutines of this process hand a mutex to each other in memory:
// all that use the session and the name, through any [Mutex] value with this option, queue
// behind one key in etcd. At most limit successive hand-offs, from 1 to [MaxHandoffs], are
// made while others may wait; then the lock is given up and the process queues again behind
// them. Tokens tell the holders apart by their sequence numbers.
//
// Without it, every acquisition stands in etcd's queue, in one order with those of all
// processes. With it, a hold's [Hold.Guard] is that of the key, and would also be true for
// later holders. So if the guard was asked for, the key is given up with the hold, as it is
// if a [Hold.Txn] is under way or its outcome is unknown. All Mutex values of a session and
// name that have this option, or [WithLinger], must have the same options. A value that
// nobody uses any more counts until the garbage collector has run.
func WithLocalHandoff(limit int) Option {
	return option(func(c *config) error {
		if limit < 1 || limit > MaxHandoffs {
			return fmt.Errorf("lock: %d local hand-offs: must be from 1 to %d", limit, MaxHandoffs)
		}
		c.handoffs, c.mutexOnly = limit, "WithLocalHandoff"
		return nil
	})
}

// WithLinger keeps a mutex for d, from [MinLinger] to [MaxLinger], after its last use in
// this process, so that locking it again costs no request. It is given up as soon as
// another process queues for it, which a watch on the queue reports.
func WithLinger(d time.Duration) Option {
	return option(func(c *config) error {
		if d < MinLinger || d > MaxLinger {
			return fmt.Errorf("lock: linger of %v: must be from %v to %v", d, MinLinger, MaxLinger)
		}
		c.linger, c.mutexOnly = d, "WithLinger"
		return nil
	})
}

// WithLockDelay makes the next holder of a mutex wait for d, from one second to
// [MaxLockDelay], after a holder was lost: its lease has ended or its key was deleted
// without an Unlock. It gives a holder that does not know of its loss yet, and works on
// something that cannot check tokens, that much time to finish. With a delay of the TTL or
// more, S3 of the package comment holds even when an etcd leader stalls. After an Unlock
// nobody waits.
//
// The delay is counted from the loss, whoever asks for the lock in the meantime, and
// nothing is left when it is over. For those who came after the loss it is up to two
// seconds longer, since leases have whole seconds. If the lease was revoked or the key
// deleted before its time, it is longer by a third of the TTL if the owner is alive, and by
// the TTL if the owner is dead, or has closed its session while it held the lock.
//
// All users of the name must set it; a [Multi] respects it by itself. The lost owner's
// option decides how long the delay is. It costs one more lease for each of the session's,
// from the first lock on, and one more write when the lock is granted after waiting.
func WithLockDelay(d time.Duration) Option {
	return option(func(c *config) error {
		if d < time.Second || d > MaxLockDelay {
			return fmt.Errorf("lock: lock delay of %v: must be from 1s to %v", d, MaxLockDelay)
		}
		c.delay, c.mutexOnly = d, "WithLockDelay"
		return nil
	})
}

// LayoutOption is an option of locks as well as of [Inspect].
type LayoutOption interface {
	Option
	InspectOption
}

type layoutOption struct{}

func (layoutOption) apply(c *config) error {
	c.layout = true
	return nil
}

func (o layoutOption) applyInspect(c *config) error { return o.apply(c) }

// newConfig applies the options of a lock of the given kind.
func newConfig(opts []Option, kind string) (config, error) {
	c := config{owner: queue.DefaultOwner()}
	var errs []error
	for _, o := range opts {
		if o == nil {
			errs = append(errs, errors.New("lock: option is nil: must come from one of the With functions"))
			continue
		}
		errs = append(errs, o.apply(&c))
	}
	if c.layout && (c.handoffs > 0 || c.linger > 0 || c.delay > 0) {
		errs = append(errs, fmt.Errorf("lock: options WithEtcdLayout and %s: the other library does not support the latter", c.mutexOnly))
	}
	if c.layout && kind != kindMutex {
		errs = append(errs, fmt.Errorf("lock: option WithEtcdLayout given to a %s: it is for a mutex only", kind))
	}
	if c.mutexOnly != "" && kind != kindMutex {
		errs = append(errs, fmt.Errorf("lock: option %s given to a %s: it is for a mutex only", c.mutexOnly, kind))
	}
	return c, errors.Join(errs...)
}

// prefix returns what the keys of a lock's entries begin with.
func (c config) prefix(name string) string {
	if c.layout {
		return name + "/"
	}
	return queue.Prefix(name, kindMutex)
}
