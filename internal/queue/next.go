package queue

import (
	"context"
	"time"
)

// Downgrade ends the grant of a writer and returns one of a reader, on the same
// entry: q says what it is from now on. Readers who wait are let in, writers are not.
//
// If it fails, because the grant was lost, ctx ended, or the server refused, the entry
// is given up: after a put without an answer nobody can say what it was.
func (g *Grant) Downgrade(ctx context.Context, q *Queue) (*Grant, error) {
	began := time.Now()
	if g.Err() != nil || !g.end(g.errs.Released) {
		return nil, g.Err()
	}
	e := g.entry
	bound, done := e.bind(ctx)
	defer done()
	if err := e.swap(bound, e.record); err != nil {
		g.settle(ctx)
		return nil, err
	}
	e.q = q
	next, err := q.grant(ctx, e, began)
	if err != nil {
		g.settle(ctx)
		return nil, err
	}
	g.settled(nil)
	return next, nil
}
