package conclavegrpc

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/conclave-go/conclave/watch"
)

const (
	// DefaultScheme is the scheme of the official resolver.
	DefaultScheme = "etcd"
	// DefaultStaleAfter is above the stall limit of a cache, so that one member that
	// has vanished makes nothing stale.
	DefaultStaleAfter = 30 * time.Second
	// MinStaleAfter is far below what is of use.
	MinStaleAfter = 10 * time.Millisecond
)

// Empty says what to do when the last key of a service is gone.
type Empty int

const (
	// KeepLast goes on with the last known addresses. If their servers are gone, calls fail
	// anyway.
	KeepLast Empty = iota
	// FailCalls tells gRPC that there is no address: calls fail with Unavailable.
	FailCalls
)

// BuilderOption configures a [NewBuilder].
type BuilderOption interface{ apply(c *config) error }

type config struct {
	scheme     string
	empty      Empty
	staleAfter time.Duration
	told       func(Staleness)
	log        *slog.Logger
	watch      []watch.CacheOption
}

func newConfig(opts []BuilderOption) (config, error) {
	c := config{scheme: DefaultScheme, staleAfter: DefaultStaleAfter, told: func(Staleness) {}, log: slog.New(slog.DiscardHandler)}
	for _, o := range opts {
		if o == nil {
			return c, errors.New("conclavegrpc: option is nil: must come from one of the With functions")
		}
		if err := o.apply(&c); err != nil {
			return c, fmt.Errorf("conclavegrpc: %w", err)
		}
	}
	return c, nil
}

type builderOption func(c *config) error

func (o builderOption) apply(c *config) error { return o(c) }

// WithScheme sets the scheme of the targets that the builder is for, [DefaultScheme] by
// default.
func WithScheme(scheme string) BuilderOption {
	return builderOption(func(c *config) error {
		if scheme == "" {
			return errors.New("scheme is empty: must be what targets begin with")
		}
		c.scheme = scheme
		return nil
	})
}

// WithEmpty sets what happens when a service no longer has an address, [KeepLast] by
// default.
func WithEmpty(e Empty) BuilderOption {
	return builderOption(func(c *config) error {
		if e != KeepLast && e != FailCalls {
			return fmt.Errorf("empty %d: must be KeepLast or FailCalls", e)
		}
		c.empty = e
		return nil
	})
}

// WithStaleness calls fn when the addresses of a service begin to be old, and when they
// are up to date again. They are old when the registry is empty and [KeepLast] is in
// force, or etcd was not heard of for so long as after says, from [MinStaleAfter], [DefaultStaleAfter] if it is
// 0. fn must not block.
func WithStaleness(after time.Duration, fn func(Staleness)) BuilderOption {
	return builderOption(func(c *config) error {
		if after != 0 && after < MinStaleAfter || fn == nil {
			return fmt.Errorf("staleness after %v: must be 0 or at least %v, and needs a function", after, MinStaleAfter)
		}
		if after > 0 {
			c.staleAfter = after
		}
		c.told = fn
		return nil
	})
}

// Option configures both a [NewBuilder] and [Register].
type Option interface {
	BuilderOption
	RegisterOption
}

// WithLogger sets where resolvers and registrations report. Resolvers report at Warn that
// addresses are stale or a service cannot be read, and at Info that it has recovered;
// registrations report at Warn that an address could not be put. By default nothing is
// logged.
func WithLogger(log *slog.Logger) Option { return logger{log} }

type logger struct{ log *slog.Logger }

func (l logger) check() error {
	if l.log == nil {
		return errors.New("logger is nil: leave the option out to log nothing")
	}
	return nil
}

func (l logger) apply(c *config) error {
	c.log = l.log
	c.watch = append(c.watch, watch.WithLogger(l.log))
	return l.check()
}

func (l logger) applyRegister(c *registerConfig) error {
	c.log = l.log
	return l.check()
}

// WithCacheOptions configures the cache that each service has, for example with the
// observer of conclaveprom, or another stall limit.
func WithCacheOptions(opts ...watch.CacheOption) BuilderOption {
	return builderOption(func(c *config) error {
		c.watch = append(c.watch, opts...)
		return nil
	})
}
