package watch

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// DefaultWorkers is one, so that a function that is not safe for concurrent use works
	// by default.
	DefaultWorkers = 1
	// DefaultMinBackoff is short enough for a lost race to be retried unnoticed.
	DefaultMinBackoff = 100 * time.Millisecond
	// DefaultMaxBackoff is how long a repaired dependency may go unnoticed.
	DefaultMaxBackoff = time.Minute
)

// ReconcileOption configures [Reconcile].
type ReconcileOption interface {
	applyReconcile(c *reconcileConfig) error
}

type reconcileConfig struct {
	workers            int
	minPause, maxPause time.Duration
	resync             time.Duration // 0: never
	sources            []Source
	observers          []ReconcileObserver
}

type reconcileOption func(*reconcileConfig) error

func (o reconcileOption) applyReconcile(c *reconcileConfig) error { return o(c) }

// WithWorkers sets how many keys may be reconciled at a time: 1 or more,
// [DefaultWorkers] by default. One key is never reconciled twice at a time.
func WithWorkers(n int) ReconcileOption {
	return reconcileOption(func(c *reconcileConfig) error {
		if n < 1 {
			return fmt.Errorf("watch: %d workers: must be 1 or more", n)
		}
		c.workers = n
		return nil
	})
}

// WithBackoff sets how long a key waits after its function failed: about shortest after the
// first failure, twice as long after each further one up to longest, each time shortened by
// up to half, at random. Both must be positive and longest not below shortest;
// [DefaultMinBackoff] and [DefaultMaxBackoff] by default. A change of the key ends the
// wait, except one within a second of the failure, which may be the failed run's own.
func WithBackoff(shortest, longest time.Duration) ReconcileOption {
	return reconcileOption(func(c *reconcileConfig) error {
		if shortest <= 0 || longest < shortest {
			return fmt.Errorf("watch: back-off from %v to %v: both must be positive, the second not below the first", shortest, longest)
		}
		c.minPause, c.maxPause = shortest, longest
		return nil
	})
}

// WithResync makes all keys of the cache be reconciled again every period, for effects that
// somebody else may undo. The period must be positive; by default keys are reconciled only
// when they change.
func WithResync(period time.Duration) ReconcileOption {
	return reconcileOption(func(c *reconcileConfig) error {
		if period <= 0 {
			return fmt.Errorf("watch: resync period %v: must be positive; leave the option out for none", period)
		}
		c.resync = period
		return nil
	})
}

// Source says which keys to reconcile besides those of the cache that change: it calls add
// with each, until ctx ends, and then returns. add may be called from several goroutines
// and does not block. An error that Source returns before that ends Reconcile; nil does
// not.
type Source func(ctx context.Context, add func(key string)) error

// WithSource adds a source of keys, which need not be keys of the cache. It may be given
// more than once.
func WithSource(source Source) ReconcileOption {
	return reconcileOption(func(c *reconcileConfig) error {
		if source == nil {
			return errors.New("watch: source is nil: must be a function")
		}
		c.sources = append(c.sources, source)
		return nil
	})
}

// From returns a source that follows another cache: keysOf says which keys, if any, to
// reconcile because of a change there, the initial state included.
func From[U any](c *Cache[U], keysOf func(change Change[U]) []string) Source {
	return func(ctx context.Context, add func(key string)) error {
		for change, err := range c.Changes(ctx) {
			if err != nil {
				return err
			}
			for _, key := range keysOf(change) {
				add(key)
			}
		}
		return nil
	}
}

// newReconcileConfig returns the defaults changed by opts, or the joined errors of
// all options that are wrong.
func newReconcileConfig(opts []ReconcileOption) (reconcileConfig, error) {
	c := reconcileConfig{workers: DefaultWorkers, minPause: DefaultMinBackoff, maxPause: DefaultMaxBackoff}
	var errs []error
	for _, o := range opts {
		if o == nil {
			errs = append(errs, errors.New("watch: option is nil: must come from one of the With functions"))
			continue
		}
		errs = append(errs, o.applyReconcile(&c))
	}
	return c, errors.Join(errs...)
}
