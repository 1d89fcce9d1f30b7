package shard

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

const (
	// DefaultShards is how many shards a new group has: enough for a handful of members,
	// few enough for each to cost next to nothing.
	DefaultShards = 64
	// DefaultMoves limits how many shards move at once. It keeps a member that has to take
	// on many from being swamped, and hardly slows down the whole.
	DefaultMoves = 256
	// DefaultDrainTimeout is shorter than most supervisors wait between SIGTERM and
	// SIGKILL.
	DefaultDrainTimeout = 10 * time.Second
	// MaxWeight is the largest weight of a member.
	MaxWeight = 1_000_000
	// MaxZone is the longest name of a zone in bytes.
	MaxZone = 64
	// MaxValue is the longest value of a member in bytes.
	MaxValue = 4 << 10
)

// Option configures a [Member].
type Option interface{ apply(*config) error }

type config struct {
	shards   int // 0: whatever the group has
	weight   int
	zone     string
	value    string
	assigner Assigner
	moves    int
	grace    time.Duration
	drain    time.Duration
	observer Observer
	piece    int
}

type option func(*config) error

func (o option) apply(c *config) error { return o(c) }

// WithShards sets how many shards the group has, from 1 to [MaxShards]. The first member
// decides; one that joins with another number is refused with a [*ShardsError]. Without
// this option a member takes the number that the group has, or [DefaultShards] if the group
// is new.
func WithShards(n int) Option {
	return option(func(c *config) error {
		c.shards = n
		return checkShards(n)
	})
}

// WithWeight sets the member's share of the shards, in proportion to the others': from 0 to
// [MaxWeight], 1 by default. A member with 0 has shards only if all members have 0.
func WithWeight(weight int) Option {
	return option(func(c *config) error {
		if weight < 0 || weight > MaxWeight {
			return fmt.Errorf("shard: weight %d: must be from 0 to %d", weight, MaxWeight)
		}
		c.weight = weight
		return nil
	})
}

// WithZone says where the member is, see [Balanced]: at most [MaxZone] bytes. None is a zone
// too.
func WithZone(zone string) Option {
	return option(func(c *config) error {
		c.zone = zone
		return checkText("zone", zone, MaxZone)
	})
}

// WithValue sets what a [Router] says about the member, such as its address: at most
// [MaxValue] bytes.
func WithValue(value string) Option {
	return option(func(c *config) error {
		c.value = value
		return checkText("value", value, MaxValue)
	})
}

// WithAssigner sets what decides who should own each shard, [Balanced] by default. All
// members should have the same, since any of them may become the planner.
func WithAssigner(by Assigner) Option {
	return option(func(c *config) error {
		if by == nil {
			return errors.New("shard: assigner is nil: must be an Assigner")
		}
		c.assigner = by
		return nil
	})
}

// WithMoves sets how many shards may move from one live member to another at a time, at
// least 1, [DefaultMoves] by default. Neither shards without an owner count, nor those that
// have been on their way for longer than the drain time and a TTL. All members should have
// the same.
func WithMoves(n int) Option {
	return option(func(c *config) error {
		if n < 1 {
			return fmt.Errorf("shard: %d moves at once: must be at least 1", n)
		}
		c.moves = n
		return nil
	})
}

// WithReturnGrace sets how long the shards of a member that is gone are kept for it, from
// when the planner has noticed: if it comes back under its name by then, none of them
// moves. A crash is noticed only when the member's lease has expired, and if a process waits
// for the name by then, nothing moves either: so a member that is back within the TTL needs
// no grace. The shards that are kept have no owner in the meantime, so the default is 0. Of a
// member that drains before it leaves nothing is kept. All members should have the same.
func WithReturnGrace(d time.Duration) Option {
	return option(func(c *config) error {
		if d < 0 {
			return fmt.Errorf("shard: return grace %v: must be 0 or more", d)
		}
		c.grace = d
		return nil
	})
}

// WithDrainTimeout sets how long a function may take to return after [Ownership.Leaving]
// was closed, [DefaultDrainTimeout] by default. Then the ownership ends as if it had been
// lost, and the next owner begins.
func WithDrainTimeout(d time.Duration) Option {
	return option(func(c *config) error {
		if d <= 0 {
			return fmt.Errorf("shard: drain timeout %v: must be more than 0", d)
		}
		c.drain = d
		return nil
	})
}

// WithObserver adds the callbacks of o: given more than once, all are called, in the order
// of the options.
func WithObserver(o Observer) Option {
	return option(func(c *config) error {
		c.observer = c.observer.and(o)
		return nil
	})
}

func checkText(what, text string, most int) error {
	if len(text) > most || !utf8.ValidString(text) {
		return fmt.Errorf("shard: %s of %d bytes: must be valid UTF-8 of at most %d", what, len(text), most)
	}
	return nil
}

// newConfig returns the defaults changed by opts, or the joined errors of all that are
// wrong.
func newConfig(opts []Option) (config, error) {
	c := config{weight: 1, assigner: Balanced(), moves: DefaultMoves, drain: DefaultDrainTimeout, piece: pieceSize}
	var errs []error
	for _, o := range opts {
		if o == nil {
			errs = append(errs, errors.New("shard: option is nil: must come from one of the With functions"))
			continue
		}
		errs = append(errs, o.apply(&c))
	}
	return c, errors.Join(errs...)
}
