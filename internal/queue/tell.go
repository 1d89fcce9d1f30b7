package queue

import (
	"context"
	"errors"
	"time"

	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/lease"
)

// turn says how an entry came to have its holder.
type turn struct {
	via      lease.Via
	sequence int
}

// tale is what the observer was told of a grant. It is apart from the grant so that one
// without an observer is small.
type tale struct {
	event   lease.Event     // of the grant
	granted time.Time       // when that was told
	leaving context.Context // of the release, as the observer wants it; nil before
	left    time.Time       // when that was told
}

// Via says how the entry of a grant came to own.
func (g *Grant) Via() lease.Via {
	if g.entry.followed.exists() {
		return lease.ViaQueue
	}
	return lease.ViaFree
}

// tellGranted tells the observer of the grant, on behalf of the call that gets it.
func (g *Grant) tellGranted(c *Call, t turn) {
	if c == nil {
		return
	}
	ev := g.entry.event()
	ev.Via, ev.Sequence = t.via, t.sequence
	if t.via == lease.ViaHandoff { // else whom the entry itself has followed
		ev.Predecessor, ev.Followed = ev.Key, ev.Revision
	}
	if t.via == lease.ViaLinger {
		ev.Predecessor, ev.Followed = "", 0
	}
	g.told = &tale{event: c.granted(ev), granted: time.Now()}
}

// tellReleased tells the observer that the grant has ended because of cause.
func (g *Grant) tellReleased(cause error) {
	if g.told == nil {
		return
	}
	released := inside.Of(g.entry.q.Session).Heard().Released
	if released == nil {
		return
	}
	ev := g.told.event
	ev.Context, ev.Took = g.ctx, time.Since(g.told.granted)
	if !errors.Is(cause, g.errs.Released) {
		ev.Err, ev.Reason = cause, lease.ReasonOf(cause)
	}
	released(ev)
}

// Releasing tells the observer that a grant which was left is being released by a call
// with the given context, and returns the context for it.
func (g *Grant) Releasing(ctx context.Context) context.Context {
	if g.told == nil {
		return ctx
	}
	g.told.left = time.Now()
	if releasing := inside.Of(g.entry.q.Session).Heard().Releasing; releasing != nil {
		ev := g.told.event
		ev.Context, ev.Took = ctx, 0
		ctx = releasing(ctx, ev)
	}
	g.told.leaving = ctx
	return ctx
}

// tellRemoved tells the observer of the outcome of the release.
func (g *Grant) tellRemoved() {
	if g.told == nil || g.told.leaving == nil {
		return
	}
	removed := inside.Of(g.entry.q.Session).Heard().Removed
	if removed == nil {
		return
	}
	ev := g.told.event
	ev.Context, ev.Took = g.told.leaving, time.Since(g.told.left)
	ev.Err, ev.Reason = g.err, lease.ReasonOf(g.err)
	removed(ev)
}
