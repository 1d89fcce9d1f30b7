package queue

import (
	"context"
	"sync"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/lease"
)

const (
	// maxJoining is how many entries of one session are put, tried, or removed by those who
	// gave up, at a time, and maxOpening how many watches are being opened. A crowd's other
	// requests wait in this process: else they would keep the holder's renewals waiting in
	// the connection and at the server, until its lease is lost. With 32 the server is busy
	// all the time; with 1,000 a renewal takes as long as a short TTL.
	maxJoining = 32
	maxOpening = 32
	// maxLeaving is how many entries are removed at a time. It is more than maxJoining, since
	// most of them go out together, and an owner's must not wait for those who gave up.
	maxLeaving = 4 * maxJoining
)

// crowd is what the entries of a session share.
type crowd struct {
	// The gates let through their requests, some at a time and in the order in which they
	// came. Renewals, looks and wake-ups do not pass them, nor do the requests of owners that
	// queue again, pass on, or put their value.
	joining, opening, leaving gate
	// The batches gather what is asked for at the same time.
	enqueues, removals batches

	mu sync.Mutex
	// waiting are the entries that are put, or wait, by their keys.
	waiting map[string]*entry
}

// gate is passed by as many at a time as it has room for.
type gate chan struct{}

// pass waits for its turn, and reports whether that has come before the end of ctx. Who has
// passed has to leave.
func (g gate) pass(ctx context.Context) bool {
	select {
	case g <- struct{}{}: // those who block here are served in order
		return true
	case <-ctx.Done():
		return false
	}
}

// passAtOnce passes if there is room.
func (g gate) passAtOnce() bool {
	select {
	case g <- struct{}{}:
		return true
	default:
		return false
	}
}

// leave makes room for the next.
func (g gate) leave() { <-g }

// crowdKey finds the crowd among what a session's users share.
type crowdKey struct{}

// crowdOf returns the crowd of a session: a client mostly has one.
func crowdOf(s *lease.Session) *crowd {
	shared := inside.Of(s).Shared()
	found, ok := shared.Load(crowdKey{})
	if !ok {
		found, _ = shared.LoadOrStore(crowdKey{}, &crowd{
			joining: make(gate, maxJoining), opening: make(gate, maxOpening), leaving: make(gate, maxLeaving),
			waiting: make(map[string]*entry),
		})
	}
	c, _ := found.(*crowd)
	return c
}

// enter passes the gate joining.
func (e *entry) enter(ctx context.Context) error {
	if !e.crowd.joining.pass(ctx) { // those before it may be waiting for an answer
		return attempt.Ended(ctx, inside.Of(e.q.Session).Caller().Trouble())
	}
	return nil
}

// add makes the entry known to those of its session who come to wait for it, until drop.
func (c *crowd) add(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting[e.key()] = e
}

// drop undoes add.
func (c *crowd) drop(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting[e.key()] == e {
		delete(c.waiting, e.key())
	}
}

// at returns the entry that waits under a key, nil if none does.
func (c *crowd) at(key string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting[key]
}
