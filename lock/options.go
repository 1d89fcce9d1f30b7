package lock

import (
	"errors"
	"fmt"

	"github.com/conclave-go/conclave/internal/queue"
)

const (
	// MaxName is the longest name of a lock in bytes.
	MaxName = queue.MaxName
	// MaxOwner is the longest owner in bytes. It is stored with every
	// acquisition.
	MaxOwner = queue.MaxOwner
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
	// mutexOnly names the last option given that only a Mutex takes.
	mutexOnly string
}

type option func(*config) error

func (o option) apply(c *config) error { return o(c) }

// WithOwner sets what acquisitions call their owner, for people who look at the
// queue and in [LockedError]: at most [MaxOwner] bytes, "host:pid" by default.
func WithOwner(owner string) Option {
	return option(func(c *config) error {
		if err := queue.CheckOwner(owner); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
		c.owner = owner
		return nil
	})
}

// WithEtcdLayout puts keys where clientv3/concurrency and etcdctl lock put theirs,
// directly under the name, so that both can stand in one queue while a fleet
// migrates. All users of the name must agree on the layout. In it a lock "a" also
// waits for the holders of a lock "a/b", as it does in that library.
func WithEtcdLayout() LayoutOption { return layoutOption{} }

// LayoutOption is an option both of locks and of [Inspect].
type LayoutOption interface {
	Option
	InspectOption
}

type layoutOption struct{}

func (layoutOption) apply(c *config) error {
	c.layout, c.mutexOnly = true, "WithEtcdLayout"
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
