package shard

import (
	"crypto/rand"

	"github.com/conclave-go/conclave/watch"
)

// What the tests of the planner, which is pure, look at.

// Round is what the planner knows when it makes a plan.
type Round struct {
	In     Input
	Held   []string
	Moves  int
	Stuck  map[ID][]string
	Frozen bool
}

// Next makes the next plan.
func (r Round) Next(by Assigner) (owners []string, moves, placed, pending, underWay int, err error) {
	out := round{in: r.In, held: r.Held, moves: r.Moves, stuck: r.Stuck, frozen: r.Frozen}.next(by)
	return out.owners, out.moves, out.placed, out.pending, out.underWay, out.err
}

// EncodePlan returns the pieces of a plan.
func EncodePlan(names, owners []string) [][]byte {
	var members []planMember
	for _, name := range names {
		members = append(members, planMember{Name: name, Nonce: rand.Text()})
	}
	return encodePlan(members, owners, pieceSize)
}

// WithPieceSize makes plans of small groups have several pieces.
func WithPieceSize(n int) Option {
	return option(func(c *config) error {
		c.piece = n
		return nil
	})
}

// Followed returns how often a router has taken over the state as a whole, and how often a shard
// has changed.
func Followed(r *Router) (loads int, edits int64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.loads, r.edits
}

// FollowNothing returns a function that has a router of so many shards hear that a shard has
// another owner, and tell those who follow it.
func FollowNothing(shards int) (hear func(id ID)) {
	r := &Router{keys: keys{"g"}, queues: map[ID][]acquisition{}, changed: make(chan struct{})}
	r.begin(shards)
	seen, revision := int64(0), int64(0)
	return func(id ID) {
		revision++
		for _, deleted := range []bool{true, false} {
			c := watch.Change[record]{Key: r.keys.queue(id) + "x", Deleted: deleted}
			c.Item.CreateRevision = revision
			r.apply(c)
			_, seen, _, _ = r.since(seen)
		}
	}
}
