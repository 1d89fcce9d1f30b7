package lock

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxName is the longest name of a lock in bytes.
	MaxName = 1024
	// MaxOwner is the longest owner in bytes. It is stored with every
	// acquisition.
	MaxOwner = 256
	// reserved is what path segments that belong to Conclave begin with.
	reserved = "~"
	// segment separates the keys of mutexes from those of other primitives of
	// the same name.
	segment = "~mutex"
)

// Option configures a lock.
type Option interface{ apply(*config) error }

type config struct {
	owner  string
	layout bool
}

type option func(*config) error

func (o option) apply(c *config) error { return o(c) }

// WithOwner sets what acquisitions call their owner, for people who look at the
// queue and in [LockedError]: at most [MaxOwner] bytes, "host:pid" by default.
func WithOwner(owner string) Option {
	return option(func(c *config) error {
		if len(owner) > MaxOwner {
			return fmt.Errorf("lock: owner of %d bytes: must be at most %d", len(owner), MaxOwner)
		}
		if !utf8.ValidString(owner) {
			return fmt.Errorf("lock: owner %q: must be valid UTF-8", owner)
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
	c.layout = true
	return nil
}

func (o layoutOption) applyInspect(c *config) error { return o.apply(c) }

func newConfig(opts []Option) (config, error) {
	c := config{owner: defaultOwner()}
	var errs []error
	for _, o := range opts {
		if o == nil {
			errs = append(errs, errors.New("lock: option is nil: must come from one of the With functions"))
			continue
		}
		errs = append(errs, o.apply(&c))
	}
	return c, errors.Join(errs...)
}

func defaultOwner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s:%d", host, os.Getpid())
}

// prefix returns what the keys of a lock's entries begin with.
func (c config) prefix(name string) string {
	if c.layout {
		return name + "/"
	}
	return name + "/" + segment + "/"
}

// checkName refuses names that would be hard to see, or whose keys could lie among
// those of another lock.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("lock: name is empty: must be at least one byte")
	case len(name) > MaxName:
		return fmt.Errorf("lock: name of %d bytes: must be at most %d", len(name), MaxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("lock: name %q: must be valid UTF-8", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("lock: name %q: must not contain control characters", name)
	case strings.HasSuffix(name, "/"):
		return fmt.Errorf("lock: name %q: must not end with a slash", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, reserved) {
			return fmt.Errorf("lock: name %q: segment %q is reserved: must not begin with %q", name, part, reserved)
		}
	}
	return nil
}
