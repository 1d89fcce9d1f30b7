package queue

import (
	"context"
	"time"

	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/lease"
)

// Call is a call that acquires, as the observer is told of it: from Begin to the grant
// or Failed, with waits in between. It is nil if nobody listens; its methods do nothing
// then. It belongs to one goroutine at a time.
type Call struct {
	observer *lease.Observer
	given    context.Context // the caller's own, of which the grant's has the values
	event    lease.Event     // what is known so far
	began    time.Time
	waits    time.Time // when the present wait began, zero without one
}

// Begin tells the observer that an acquisition begins, and returns the context for it.
func (q *Queue) Begin(ctx context.Context) (*Call, context.Context) {
	o := inside.Of(q.Session).Heard()
	if o == nil {
		return nil, ctx
	}
	c := &Call{observer: o, given: ctx, began: time.Now()}
	within := q.acquiring(ctx)
	c.event = lease.Event{Context: within, Kind: q.Kind, Name: q.Name}
	return c, within
}

// acquiring returns ctx as the observer wants it for an acquisition.
func (q *Queue) acquiring(ctx context.Context) context.Context {
	acquiring := inside.Of(q.Session).Heard().Acquiring
	if acquiring == nil {
		return ctx
	}
	return acquiring(ctx, lease.Event{Context: ctx, Kind: q.Kind, Name: q.Name})
}

// begin is Begin, unless others tell the observer of this queue's calls.
func (q *Queue) begin(ctx context.Context) (*Call, context.Context) {
	if q.Quiet {
		return nil, ctx
	}
	return q.Begin(ctx)
}

// caller returns the context that the caller has given, ctx being the one for the
// acquisition.
func (c *Call) caller(ctx context.Context) context.Context {
	if c == nil {
		return ctx
	}
	return c.given
}

// Waiting tells that the call waits, as e says, unless that is known.
func (c *Call) Waiting(e lease.Event) {
	if c == nil || !c.waits.IsZero() {
		return
	}
	c.adopt(e)
	c.waits = time.Now()
	if c.observer.Waiting != nil {
		c.observer.Waiting(c.event)
	}
}

// Waited tells that the call does not wait any more, because of why, which is nil if its
// turn has come.
func (c *Call) Waited(why error) {
	if c == nil || c.waits.IsZero() {
		return
	}
	e := c.event
	e.Took, c.waits = time.Since(c.waits), time.Time{}
	e.Err, e.Reason = why, lease.ReasonOf(why)
	if c.observer.Waited != nil {
		c.observer.Waited(e)
	}
}

// Failed tells that the call has failed because of why, if that is not nil.
func (c *Call) Failed(why error) { c.failed(why, lease.ReasonOf(why)) }

// Taken tells that the call has failed with why because somebody is in its way.
func (c *Call) Taken(why error) { c.failed(why, lease.ReasonTaken) }

func (c *Call) failed(why error, reason lease.Reason) {
	if c == nil || why == nil {
		return
	}
	c.Waited(why)
	e := c.event
	e.Took, e.Err, e.Reason = time.Since(c.began), why, reason
	if c.observer.Failed != nil {
		c.observer.Failed(e)
	}
}

// granted tells that the call has been granted as e says, and returns what was told.
func (c *Call) granted(e lease.Event) lease.Event {
	c.adopt(e)
	c.Waited(nil)
	c.event.Took = time.Since(c.began)
	if c.observer.Granted != nil {
		c.observer.Granted(c.event)
	}
	return c.event
}

// adopt takes over what e says about the entry.
func (c *Call) adopt(e lease.Event) {
	e.Context, e.Kind, e.Name = c.event.Context, c.event.Kind, c.event.Name
	c.event = e
}
