package queue

import (
	"context"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/lease"
)

const (
	// maxJoining is how many entries of one session are put, or removed by those who gave
	// up, at a time, and maxOpening how many watches are being opened. A crowd's other
	// requests wait in this process: else they would keep the holder's renewals waiting in
	// the connection and at the server, until its lease is lost. With 32 the server is busy
	// all the time; with 1,000 a renewal takes as long as a short TTL.
	maxJoining = 32
	maxOpening = 32
)

// gates let through the requests of a session's crowd, some at a time and in the order in
// which they came. Renewals, looks, releases and wake-ups do not pass them.
type gates struct {
	joining, opening gate
}

// gate is passed by as many at a time as it has room for.
type gate chan struct{}

// pass waits for its turn, or the end of ctx. leave makes room for the next.
func (g gate) pass(ctx context.Context) (leave func(), err error) {
	select {
	case g <- struct{}{}: // those who block here are served in order
		return func() { <-g }, nil
	case <-ctx.Done():
		return nil, attempt.Ended(ctx, nil)
	}
}

// gatesKey finds the gates among what a session's users share.
type gatesKey struct{}

// gatesOf returns the gates of a session: a client mostly has one.
func gatesOf(s *lease.Session) *gates {
	shared := inside.Of(s).Shared()
	found, ok := shared.Load(gatesKey{})
	if !ok {
		found, _ = shared.LoadOrStore(gatesKey{}, &gates{make(gate, maxJoining), make(gate, maxOpening)})
	}
	g, _ := found.(*gates)
	return g
}
