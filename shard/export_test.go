package shard

// What the tests of the planner, which is pure, look at.

// Round is what the planner knows when it makes a plan.
type Round struct {
	In     Input
	Held   []string
	Moves  int
	Frozen bool
}

// Next makes the next plan.
func (r Round) Next(by Assigner) (owners []string, moves, placed, pending, underWay int, err error) {
	out := round{in: r.In, held: r.Held, moves: r.Moves, frozen: r.Frozen}.next(by)
	return out.owners, out.moves, out.placed, out.pending, out.underWay, out.err
}

// EncodePlan returns the pieces of a plan.
func EncodePlan(members, owners []string) [][]byte { return encodePlan(members, owners, pieceSize) }

// WithPieceSize makes plans of small groups have several pieces.
func WithPieceSize(n int) Option {
	return option(func(c *config) error {
		c.piece = n
		return nil
	})
}
