package watch

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// DefaultStall is longer than a leader election takes and a good deal shorter
	// than TCP needs to notice that a machine is gone.
	DefaultStall = 10 * time.Second
	// MinStall lets a server that is 200 ms away answer in time.
	MinStall = time.Second
	// MaxStall is more than anybody should wait.
	MaxStall = 24 * time.Hour
	// DefaultBuffer holds some ten thousand small events, as many as a server
	// sends in about a second to a stream that catches up.
	DefaultBuffer = 4 << 20
)

// Option configures a [Stream].
type Option interface{ apply(*config) error }

// SharedOption is an option of a [Stream] as well as of a [Cache].
type SharedOption interface {
	Option
	CacheOption
}

// config is what options set. Zero values stand for defaults until check has
// filled them in.
type config struct {
	prefix   bool
	keyspace bool
	snapshot bool
	conflate bool
	rebuild  bool
	revision int64
	stall    time.Duration
	buffer   int
	log      *slog.Logger

	observers []Observer
}

type option func(*config) error

func (o option) apply(c *config) error { return o(c) }

type sharedOption func(*config) error

func (o sharedOption) apply(c *config) error           { return o(c) }
func (o sharedOption) applyCache(c *cacheConfig) error { return o(&c.config) }

// WithPrefix delivers the changes of all keys that begin with the stream's key.
func WithPrefix() Option {
	return option(func(c *config) error {
		c.prefix = true
		return nil
	})
}

// WithKeyspace goes with the empty key, and no other, to follow all keys of the store. The
// empty key without it is refused, since it is usually a mistake.
func WithKeyspace() SharedOption {
	return sharedOption(func(c *config) error {
		c.keyspace = true
		return nil
	})
}

// WithRevision starts the stream with the changes made at revision: a positive number, at
// most one above the store's revision. It cannot be combined with [WithSnapshot]. By
// default a stream starts with what happens after it has been opened.
func WithRevision(revision int64) Option {
	return option(func(c *config) error {
		if revision < 1 {
			return fmt.Errorf("watch: start revision %d: must be at least 1; leave the option out to start from now", revision)
		}
		c.revision = revision
		return nil
	})
}

// WithSnapshot begins the stream with the current state, in one batch marked Snapshot, and
// then delivers changes. If history that the stream needs is compacted away, it delivers
// the difference in a batch marked Resync and goes on; for that it remembers the name and
// revision of each existing key.
func WithSnapshot() Option {
	return option(func(c *config) error {
		c.snapshot = true
		return nil
	})
}

// WithRebuild starts over when the store is no longer the one that was followed: its
// revision has gone back, or the endpoints lead to another cluster, as after a restore from
// a backup. A stream, which must be [WithSnapshot], then delivers the whole state in a
// batch that is Rebuilt, and drops what it had read ahead; a cache replaces what it has,
// see [Change]. The logger reports it at Warn, and the observer is told. Without this
// option such a store ends the stream or cache with a [*FutureRevisionError] or
// [*ClusterError], since what was delivered may never have happened, and whoever has acted
// on it should know.
func WithRebuild() SharedOption {
	return sharedOption(func(c *config) error {
		c.rebuild = true
		return nil
	})
}

// WithStall sets how long the server may be silent, from [MinStall] to [MaxStall] and
// [DefaultStall] by default. A quiet stream asks for signs of life. If none has come for
// half of the limit, the watch is opened again, on another member if there is one. If there
// is no answer to that, or to a read, within a tenth of the limit, the next attempt goes
// out alongside. A server that answers reads but takes longer than the limit to create a
// watch, as when many clients come back at once, is given twice as long with each attempt,
// up to 32 limits.
func WithStall(limit time.Duration) SharedOption {
	return sharedOption(func(c *config) error {
		if limit < MinStall || limit > MaxStall {
			return fmt.Errorf("watch: stall limit %v: must be from %v to %v", limit, MinStall, MaxStall)
		}
		c.stall = limit
		return nil
	})
}

// WithBuffer sets how many bytes of events may wait for the consumer, in keys, values and a
// fixed amount for each event: at least 1, [DefaultBuffer] by default. When there are more,
// the stream stops receiving, and goes on once half of them are consumed. What the server
// sends at once is never split, so the limit may be exceeded by one message, which holds
// the changes of at most 1,000 revisions.
func WithBuffer(bytes int) SharedOption {
	return sharedOption(func(c *config) error {
		if bytes < 1 {
			return fmt.Errorf("watch: buffer of %d bytes: must be at least 1", bytes)
		}
		c.buffer = bytes
		return nil
	})
}

// WithConflation keeps only the latest event of each key among those that wait for a slow
// consumer. A batch may then leave out events; it still takes the consumer from the
// complete state at one revision to that at another, so keys changed together are never
// seen apart. The limit of [WithBuffer] applies to what is left, a few bytes for each key
// that has changed.
func WithConflation() Option {
	return option(func(c *config) error {
		c.conflate = true
		return nil
	})
}

// WithLogger sets where a stream reports what an operator may want to know: stalls,
// compaction, and values that do not decode at Warn, a consumer that is too slow at
// Info, a watch opened again at Debug. By default nothing is logged.
func WithLogger(log *slog.Logger) SharedOption {
	return sharedOption(func(c *config) error {
		if log == nil {
			return errors.New("watch: logger is nil: must be a *slog.Logger; leave the option out for silence")
		}
		c.log = log
		return nil
	})
}

// newConfig returns the defaults changed by opts, or the joined errors of all
// options that are wrong.
func newConfig(client *clientv3.Client, key string, opts []Option) (config, error) {
	var c config
	var errs []error
	for _, o := range opts {
		if o == nil {
			errs = append(errs, errors.New("watch: option is nil: must come from one of the With functions"))
			continue
		}
		errs = append(errs, o.apply(&c))
	}
	errs = append(errs, c.check(client, key))
	if c.rebuild && !c.snapshot {
		errs = append(errs, errors.New("watch: WithRebuild without WithSnapshot: a stream that starts over begins with the state"))
	}
	return c, errors.Join(errs...)
}

// check fills in the defaults and returns what is wrong with the rest, or with what
// the options apply to.
func (c *config) check(client *clientv3.Client, key string) error {
	if c.stall == 0 {
		c.stall = DefaultStall
	}
	if c.buffer == 0 {
		c.buffer = DefaultBuffer
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if client == nil {
		errs = append(errs, errors.New("watch: client is nil: must be a connected *clientv3.Client"))
	} else if client.ActiveConnection() == nil {
		errs = append(errs, errors.New("watch: client has no connection: must come from clientv3.New"))
	}
	if key == "" && !c.keyspace {
		errs = append(errs, errors.New("watch: key is empty: must not be, unless WithKeyspace asks for all keys of the store"))
	}
	if key != "" && c.keyspace {
		errs = append(errs, fmt.Errorf("watch: key %q: must be empty with WithKeyspace, which stands for all keys of the store", key))
	}
	if c.snapshot && c.revision != 0 {
		errs = append(errs, fmt.Errorf("watch: start revision %d: not allowed with WithSnapshot, which starts from the current state", c.revision))
	}
	return errors.Join(errs...)
}
