package lease

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
)

const (
	// DefaultTTL lets another client take over within ten seconds of a crash
	// and leaves room for a leader election (about 1 to 2 s) and several
	// renewals before the deadline.
	DefaultTTL = 10 * time.Second
	// MinTTL is the shortest TTL etcd can express; servers raise it to one and
	// a half election timeouts.
	MinTTL = time.Second
	// MaxTTL is the longest TTL whose deadline can be trusted: above 300 s a server with
	// lease checkpointing does not restart the TTL when its leader changes.
	MaxTTL = 300 * time.Second
	// DefaultClockDrift is a hundred times what a quartz clock drifts.
	DefaultClockDrift = 0.01
	// DefaultGrace is enough for a request to a healthy cluster, and short enough for any
	// supervisor's patience.
	DefaultGrace = time.Second
	// maxClockDrift leaves at least half of the TTL.
	maxClockDrift = 0.5
)

// Option configures a [Session] or a single [Lease].
type Option interface{ apply(*config) error }

type config struct {
	ttl      time.Duration
	drift    float64
	grace    time.Duration
	log      *slog.Logger
	listener func(l *Lease, s State)
	observer Observer
	// final is set if the session does not heal, and adopted if it begins with a lease
	// that exists.
	final   bool
	adopted clientv3.LeaseID
	session *Session // whose lease it is, nil for one of Grant
	caller  *attempt.Caller
	store   *store
}

type option func(*config) error

func (o option) apply(c *config) error { return o(c) }

// WithTTL sets how long after the last renewal the server keeps the lease: whole
// seconds from [MinTTL] to [MaxTTL], [DefaultTTL] by default. A crashed holder
// blocks others for this long; a partition shorter than about two thirds of it
// goes unnoticed. The server may grant more, see [Lease.TTL].
func WithTTL(ttl time.Duration) Option {
	return option(func(c *config) error {
		if ttl < MinTTL || ttl > MaxTTL || ttl%time.Second != 0 {
			return fmt.Errorf("lease: TTL %v: must be whole seconds from %v to %v", ttl, MinTTL, MaxTTL)
		}
		c.ttl = ttl
		return nil
	})
}

// WithClockDrift sets by what fraction the rate of this machine's clock may
// differ from the etcd leader's: from 0 up to but not including 0.5,
// [DefaultClockDrift] by default. The deadline is brought forward by that
// fraction of the TTL.
func WithClockDrift(fraction float64) Option {
	return option(func(c *config) error {
		if !(fraction >= 0 && fraction < maxClockDrift) { // also refuses NaN
			return fmt.Errorf("lease: clock drift %v: must be a fraction from 0 up to, but not including, %v", fraction, maxClockDrift)
		}
		c.drift = fraction
		return nil
	})
}

// WithGrace sets how long releasing what is held may take after the caller's context is
// done: [Session.Close], [Registration.Close], the Do of locks and the Run of elections
// remove their keys before they return, within this time, so that a process that is told to
// stop hands over at once. It must be 0, for no time at all, or more; [DefaultGrace] is the
// default. They take less, half a second each, if no connection can be made.
func WithGrace(d time.Duration) Option {
	return option(func(c *config) error {
		if d < 0 {
			return fmt.Errorf("lease: grace %v: must be 0 or more", d)
		}
		c.grace = d
		return nil
	})
}

// WithLogger sets where the session, and the locks and elections on it, report what an
// operator may want to know: what was lost or left behind at Warn, changes of state at
// Info, and attempts that failed and are repeated at Debug. By default nothing is logged.
func WithLogger(log *slog.Logger) Option {
	return option(func(c *config) error {
		if log == nil {
			return errors.New("lease: logger is nil: must be a *slog.Logger; leave the option out for silence")
		}
		c.log = log
		return nil
	})
}

// WithStateListener calls fn with each change of a lease's state, one call at a
// time and in order. It must not block: a lease whose listener hangs is not
// renewed (and still ends at its deadline). It may be called
// from within any call that finds the lease at its end, such as [Lease.Err], and may itself
// call the methods of this package.
func WithStateListener(fn func(l *Lease, s State)) Option {
	return option(func(c *config) error {
		if fn == nil {
			return errors.New("lease: state listener is nil: must be a function")
		}
		c.listener = fn
		return nil
	})
}

// WithObserver adds the callbacks of o. If it is given more than once, all are called, in
// the order of the options. By default there are none.
func WithObserver(o Observer) Option {
	return option(func(c *config) error {
		c.observer = c.observer.and(o)
		return nil
	})
}

// newConfig returns the defaults changed by opts, or the joined errors of all
// options that are wrong.
func newConfig(client *clientv3.Client, opts []Option) (config, error) {
	c := config{ttl: DefaultTTL, drift: DefaultClockDrift, grace: DefaultGrace, log: slog.New(slog.DiscardHandler)}
	var errs []error
	if client == nil {
		errs = append(errs, errors.New("lease: client is nil: must be a connected *clientv3.Client"))
	} else if client.ActiveConnection() == nil {
		errs = append(errs, errors.New("lease: client has no connection: must come from clientv3.New"))
	}
	for _, o := range opts {
		if o == nil {
			errs = append(errs, errors.New("lease: option is nil: must come from one of the With functions"))
			continue
		}
		errs = append(errs, o.apply(&c))
	}
	c.caller = &attempt.Caller{Client: client, Log: c.log}
	c.store = new(store)
	return c, errors.Join(errs...)
}
