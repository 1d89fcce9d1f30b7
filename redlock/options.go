package redlock

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// DefaultTTL lets another client take over ten seconds after a crash, and gives
	// a hold two renewals that may fail before it is lost.
	DefaultTTL = 10 * time.Second
	// MaxNodeTimeout is the longest default of [WithNodeTimeout]. A lost packet is
	// sent again after about 200 ms, so that it does not cost the node's vote.
	MaxNodeTimeout = 250 * time.Millisecond
	// DefaultDrift is a hundred times what a quartz clock drifts.
	DefaultDrift = 0.01
	// DefaultGrace is long enough for the round trips to release locks, and short enough
	// for a program that is being stopped.
	DefaultGrace = time.Second
	// MinDrift is added to the drift allowance: Redis expires keys by a clock of
	// whole milliseconds, which it reads before it runs a script.
	MinDrift = 2 * time.Millisecond

	// MaxOwner is the most bytes of [WithOwner].
	MaxOwner = 256

	// maxDrift leaves at least half of the TTL.
	maxDrift = 0.5
	// timeoutsPerTTL sets the default node timeout, so that waiting for a node that
	// hangs leaves most of a fresh hold's time.
	timeoutsPerTTL = 10
	// roundsPerTTL is how often a hold is extended in one TTL, and how often a node
	// timeout fits into it at least.
	roundsPerTTL = 3
)

// Option configures [Nodes].
type Option interface{ apply(*config) error }

// MutexOption configures a [Mutex].
type MutexOption interface{ applyMutex(*mutexConfig) error }

type config struct {
	ttl       time.Duration
	timeout   time.Duration // 0: derived from the TTL
	grace     time.Duration
	owner     string
	drift     float64
	minUptime time.Duration
	prefix    string
	log       *slog.Logger
	observers []Observer
}

type mutexConfig struct {
	ttl     time.Duration
	timeout time.Duration // for one node
	manual  bool          // no renewal
}

type option func(*config) error

func (o option) apply(c *config) error { return o(c) }

type mutexOption func(*mutexConfig) error

func (o mutexOption) applyMutex(c *mutexConfig) error { return o(c) }

// TTLOption is an option of [Nodes], for all its mutexes, and of a single [Mutex].
type TTLOption interface {
	Option
	MutexOption
}

type ttlOption time.Duration

func (o ttlOption) check() error {
	if d := time.Duration(o); d < time.Millisecond || d%time.Millisecond != 0 {
		return fmt.Errorf("redlock: TTL %v: must be whole milliseconds, at least one", d)
	}
	return nil
}

func (o ttlOption) apply(c *config) error {
	c.ttl = time.Duration(o)
	return o.check()
}

func (o ttlOption) applyMutex(c *mutexConfig) error {
	c.ttl = time.Duration(o)
	return o.check()
}

// WithTTL sets how long after its last renewal a node keeps a key, in whole
// milliseconds, [DefaultTTL] by default. A crashed holder blocks others for this long.
// It must exceed the drift allowance, and be at least three times a node timeout that
// was set with [WithNodeTimeout].
func WithTTL(ttl time.Duration) TTLOption { return ttlOption(ttl) }

// WithNodeTimeout sets how long an operation waits for one node, whatever the timeouts of
// its client are. By default it is a tenth of the mutex's TTL, at most [MaxNodeTimeout]; it
// may be up to a third of the TTL. A hanging node costs this much when its vote is needed,
// and nothing while the others are a quorum. If a connection has to be opened first, the
// time counts from when it is open; the limit for both together is three times as long.
//
// A node that is slower than this is not ruled out: Lock waits longer with each attempt, up
// to a third of the TTL, and an answer to an extension counts until the deadline.
func WithNodeTimeout(d time.Duration) Option {
	return option(func(c *config) error {
		if d <= 0 {
			return fmt.Errorf("redlock: node timeout %v: must be positive", d)
		}
		c.timeout = d
		return nil
	})
}

// WithDrift sets by what fraction the rate of this machine's clock may differ from
// those of the nodes: from 0 up to but not including 0.5, [DefaultDrift] by default.
// The deadline is brought forward by that fraction of the TTL plus [MinDrift].
func WithDrift(fraction float64) Option {
	return option(func(c *config) error {
		if !(fraction >= 0 && fraction < maxDrift) { // also refuses NaN
			return fmt.Errorf("redlock: drift %v: must be a fraction from 0 up to, but not including, %v", fraction, maxDrift)
		}
		c.drift = fraction
		return nil
	})
}

// WithMinUptime refuses the vote of a node that has not certainly been up for d. A node
// that restarts without its keys may otherwise grant a lock that is held. Give the longest
// TTL that any client uses on these nodes. It is off by default. It costs an INFO on the
// server in each acquisition, in the same round trip; Redis's ACL counts INFO as dangerous.
//
// Nodes report whole seconds, so a node counts up to two seconds late. A new set of
// nodes grants nothing for d. A fail-over to a replica is not a restart and is not
// noticed.
func WithMinUptime(d time.Duration) Option {
	return option(func(c *config) error {
		if d <= 0 {
			return fmt.Errorf("redlock: minimum uptime %v: must be positive; leave the option out for none", d)
		}
		c.minUptime = d
		return nil
	})
}

// WithKeyPrefix puts prefix before the names of locks to make their keys and channels.
// All begin with it, so that a user of Redis can be restricted to them (~prefix* and
// &prefix*). It is empty by default: a lock's key is then its name, as with most other
// Redis locks. If it has an opening brace, it must have a whole hash tag like {tag}.
func WithKeyPrefix(prefix string) Option {
	return option(func(c *config) error {
		if strings.Contains(prefix, "{") && !tagged(prefix) {
			return fmt.Errorf("redlock: key prefix %q: has an opening brace, so it must have a hash tag like {tag}", prefix)
		}
		c.prefix = prefix
		return nil
	})
}

// WithGrace sets how long [Mutex.Do], [Mutex.TryDo] and [Nodes.Close] go on releasing what
// they hold when their context is done: [DefaultGrace] by default, 0 for no time at all.
// They use it only while nodes answer; for those that do not, they wait for no more than
// one attempt.
func WithGrace(d time.Duration) Option {
	return option(func(c *config) error {
		if d < 0 {
			return fmt.Errorf("redlock: grace period %v: must be 0 or more", d)
		}
		c.grace = d
		return nil
	})
}

// WithOwner sets what the keys say about their owner, besides a random token: "host:pid" by
// default. A [*LockedError] names it, and it has no other use. Up to [MaxOwner] bytes of
// UTF-8 without control characters.
func WithOwner(owner string) Option {
	return option(func(c *config) error {
		if len(owner) > MaxOwner || !utf8.ValidString(owner) || strings.ContainsFunc(owner, unicode.IsControl) {
			return fmt.Errorf("redlock: owner %.100q: must be valid UTF-8 of at most %d bytes without control characters", owner, MaxOwner)
		}
		c.owner = owner
		return nil
	})
}

// WithLogger sets where the nodes report what an operator may want to know. At Warn:
// losses, keys that could not be removed, the lack of a quorum (once, and then less and
// less often), subscriptions and publications that fail (once until they work), and keys
// that never expire. At Info: that nodes answer again. At Debug: each renewal that failed. By default nothing
// is logged.
func WithLogger(log *slog.Logger) Option {
	return option(func(c *config) error {
		if log == nil {
			return errors.New("redlock: logger is nil: must be a *slog.Logger; leave the option out for silence")
		}
		c.log = log
		return nil
	})
}

// WithoutRenewal leaves it to the holder to call [Hold.Extend] before the deadline.
func WithoutRenewal() MutexOption {
	return mutexOption(func(c *mutexConfig) error {
		c.manual = true
		return nil
	})
}

// errNilOption names a nil option.
var errNilOption = errors.New("redlock: option is nil: must come from one of the With functions")

func newConfig(opts []Option) (config, error) {
	c := config{
		ttl: DefaultTTL, drift: DefaultDrift, grace: DefaultGrace, owner: defaultOwner(),
		log: slog.New(slog.DiscardHandler),
	}
	var errs []error
	for _, o := range opts {
		if o == nil {
			errs = append(errs, errNilOption)
			continue
		}
		errs = append(errs, o.apply(&c))
	}
	if err := errors.Join(errs...); err != nil {
		return c, err
	}
	return c, c.check(c.ttl)
}

// mutex returns the configuration of a mutex on nodes of configuration c.
func (c config) mutex(opts []MutexOption) (mutexConfig, error) {
	m := mutexConfig{ttl: c.ttl}
	var errs []error
	for _, o := range opts {
		if o == nil {
			errs = append(errs, errNilOption)
			continue
		}
		errs = append(errs, o.applyMutex(&m))
	}
	if err := errors.Join(errs...); err != nil {
		return m, err
	}
	m.timeout = c.nodeTimeout(m.ttl)
	return m, c.check(m.ttl)
}

// nodeTimeout is the one for locks of a TTL.
func (c config) nodeTimeout(ttl time.Duration) time.Duration {
	if c.timeout > 0 {
		return c.timeout
	}
	return min(ttl/timeoutsPerTTL, MaxNodeTimeout)
}

// defaultOwner is the process.
func defaultOwner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s:%d", host, os.Getpid())
}

// check compares a TTL with what it must exceed.
func (c config) check(ttl time.Duration) error {
	switch {
	case ttl <= c.allowance(ttl):
		return fmt.Errorf("redlock: TTL %v: must exceed the drift allowance of %v", ttl, c.allowance(ttl))
	case c.timeout > ttl/roundsPerTTL:
		return fmt.Errorf("redlock: node timeout %v: must be at most a third of the TTL %v", c.timeout, ttl)
	case c.minUptime > 0 && c.minUptime < ttl:
		return fmt.Errorf("redlock: minimum uptime %v: must be at least the TTL %v", c.minUptime, ttl)
	}
	return nil
}

// allowance is by how much a TTL is not relied on.
func (c config) allowance(ttl time.Duration) time.Duration {
	return time.Duration(c.drift*float64(ttl)) + MinDrift
}
