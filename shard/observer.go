package shard

import (
	"time"

	"github.com/conclave-go/conclave/lock"
)

// Observer holds optional callbacks about what a member does, for metrics; nil ones are
// skipped. They are called synchronously, so they must be quick, must not block, and must
// not call the member. They may be called by several goroutines at a time, though in order
// for each shard.
type Observer struct {
	// Acquired is called when the member has come to own a shard. Took is how long it had
	// been asking for it.
	Acquired func(e Event)
	// Leaving is called when an owner is told to leave. Took is how long it has owned the
	// shard.
	Leaving func(e Event)
	// Released is called when an ownership is over, once for each Acquired: when its
	// function has returned, or has not by the end of the drain time or a second after the
	// loss of the shard. Err says why if it did not end cleanly. Took is how long the member
	// has owned the shard.
	Released func(e Event)
	// Planned is called by the planner after each round of planning: after something has
	// changed, and every few seconds while a shard has no owner.
	Planned func(e PlanEvent)
	// Retired is called when the member no longer plans. Only Group and Planner are set.
	Retired func(e PlanEvent)
}

// Event is what happened to a member's shard.
type Event struct {
	// Group and Member are those of the member.
	Group, Member string
	// Shard is the shard.
	Shard ID
	// Token is that of the ownership.
	Token lock.Token
	// Took is how long it took, as each callback says.
	Took time.Duration
	// Err says what went wrong: the hold was lost, the function has failed, panicked,
	// returned before it was told to, or not in time.
	Err error
}

// PlanEvent is a round of planning.
type PlanEvent struct {
	// Group is the group, Planner the member that plans.
	Group, Planner string
	// Version counts the group's plans. If Written is not set, the last one is unchanged.
	Version int64
	Written bool
	// Shards and Members are how many there are.
	Shards, Members int
	// Moves is how many shards the plan takes from a living member, Placed how many
	// others it gives to somebody.
	Moves, Placed int
	// UnderWay is how many shards are on their way from one member to another, and Pending
	// how many more will move once these have.
	UnderWay, Pending int
	// Unowned is how many shards nobody owns, and UnownedFor how long the longest unowned
	// one has been so.
	Unowned    int
	UnownedFor time.Duration
	// Size is that of the plan in bytes; 0 if it was not written.
	Size int
	// Took is how long the round took.
	Took time.Duration
	// Err says why the assigner was ignored, or why the plan was not written.
	Err error
}

// and returns an observer that calls o's callbacks and then more's.
func (o Observer) and(more Observer) Observer {
	return Observer{
		Acquired: both(o.Acquired, more.Acquired),
		Leaving:  both(o.Leaving, more.Leaving),
		Released: both(o.Released, more.Released),
		Planned:  both(o.Planned, more.Planned),
		Retired:  both(o.Retired, more.Retired),
	}
}

func both[E any](f, g func(E)) func(E) {
	switch {
	case f == nil:
		return g
	case g == nil:
		return f
	}
	return func(e E) { f(e); g(e) }
}

func tell[E any](f func(E), e E) {
	if f != nil {
		f(e)
	}
}
