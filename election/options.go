package election

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/lease"
)

const (
	// MaxName is the longest name of an election in bytes.
	MaxName = queue.MaxName
	// MaxOwner is the longest owner in bytes. It is stored with every candidacy.
	MaxOwner = queue.MaxOwner
	// MaxValue is the longest value in bytes. Values are stored as JSON, which may
	// make six bytes of one, and etcd takes requests of 1.5 MiB.
	MaxValue = 64 << 10
	// MaxEtcdValue is the longest value [WithEtcdLayout], which stores it unchanged: the
	// largest request that etcd takes, less room for the rest of it.
	MaxEtcdValue = 1536<<10 - 8<<10
)

// Option configures an election.
type Option interface{ apply(*config) error }

type config struct {
	owner string
	// owned is set if the owner is not the default.
	owned  bool
	layout bool
	header *lease.Header // see WithHeader
	retry  *backoff
	limit  limit
	check  *check
}

type option func(*config) error

func (o option) apply(c *config) error { return o(c) }

// WithOwner sets what candidates call their owner, for people who look at the
// candidates: at most [MaxOwner] bytes, "host:pid" by default.
func WithOwner(owner string) Option {
	return option(func(c *config) error {
		if err := queue.CheckOwner(owner); err != nil {
			return fmt.Errorf("election: %w", err)
		}
		c.owner, c.owned = owner, true
		return nil
	})
}

// WithRetry makes [Election.Run] go on when lead returns an error: it steps down, stays out
// of the election for a while and campaigns again. The pause is first after the first error
// and doubles with each further one up to most, give or take a quarter; after a term that
// lasted longer than most it starts over. By default Run returns lead's error.
func WithRetry(first, most time.Duration) Option {
	return option(func(c *config) error {
		if first <= 0 || most < first {
			return fmt.Errorf("election: retry pauses from %v to %v: must be positive, and the first not above the last", first, most)
		}
		c.retry = &backoff{first: first, most: most}
		return nil
	})
}

// WithMaxTerms limits how often a candidate that keeps failing is elected: a call of
// [Election.Run] that has won n terms within the period stays out of the election until the
// first of them is that long ago. Terms count no matter how they ended. By default there is
// no limit.
func WithMaxTerms(n int, per time.Duration) Option {
	return option(func(c *config) error {
		if n < 1 || per <= 0 {
			return fmt.Errorf("election: at most %d terms per %v: both must be positive", n, per)
		}
		c.limit = limit{terms: n, per: per}
		return nil
	})
}

// WithHealthCheck makes [Election.Run] lead, and stand for election, only while fn
// returns nil. It is called before each campaign and then a period after the last
// call ended, one call at a time. Its context ends after the timeout, and a call that
// has not returned by then has failed.
//
// When it fails, a waiting candidate leaves the queue. A leader's context ends with
// [ErrUnhealthy] and fn's error as its cause; when lead has returned, the leader resigns.
// The candidate is back in the queue, at its end, after the next call that succeeds. The
// election's Campaign is refused, because it would ignore the check.
//
// fn should return when its context ends: Run waits for that when it returns, but
// no longer than the timeout.
func WithHealthCheck(period, timeout time.Duration, fn func(ctx context.Context) error) Option {
	return option(func(c *config) error {
		switch {
		case period <= 0 || timeout <= 0:
			return fmt.Errorf("election: health check every %v with timeout %v: both must be positive", period, timeout)
		case fn == nil:
			return errors.New("election: health check is nil: must be a function")
		}
		c.check = &check{period: period, timeout: timeout, fn: fn}
		return nil
	})
}

func newConfig(opts []Option) (config, error) {
	c := config{owner: queue.DefaultOwner()}
	var errs []error
	for _, o := range opts {
		if o == nil {
			errs = append(errs, errors.New("election: option is nil: must come from one of the With functions"))
			continue
		}
		errs = append(errs, o.apply(&c))
	}
	if c.layout && c.owned {
		errs = append(errs, errors.New("election: options WithEtcdLayout and WithOwner: that layout has no place for an owner"))
	}
	return c, errors.Join(errs...)
}

func (c config) checkValue(value string) error {
	most := MaxValue
	if c.layout {
		most = MaxEtcdValue
	}
	if len(value) > most {
		return fmt.Errorf("election: value of %d bytes: must be at most %d", len(value), most)
	}
	if !c.layout && !utf8.ValidString(value) {
		return fmt.Errorf("election: value %.40q: must be valid UTF-8", value)
	}
	return nil
}
