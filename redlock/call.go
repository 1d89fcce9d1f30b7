package redlock

import (
	"context"
	"errors"
	"time"
)

// call is a call that acquires, and then its hold, as observers are told of it. It is
// nil if nobody listens; its methods do nothing then. It belongs to one goroutine at a
// time.
type call struct {
	observers []Observer
	given     context.Context // the caller's own, of which the hold's has the values
	event     Event           // what is known so far
	began     time.Time
	waits     time.Time // when the wait began, zero without one
}

// begin tells that an acquisition begins, and returns the context for it.
func (m *Mutex) begin(ctx context.Context) (*call, context.Context) {
	all := m.nodes.cfg.observers
	if len(all) == 0 {
		return nil, ctx
	}
	began := time.Now()
	within := heeding(ctx, all, Event{Name: m.name}, func(o *Observer) callback { return o.Acquiring })
	return &call{observers: all, given: ctx, began: began, event: Event{Context: within, Name: m.name}}, within
}

// callback is one that makes a context of a call's.
type callback = func(ctx context.Context, e Event) context.Context

// heeding returns ctx as a callback of the observers wants it.
func heeding(ctx context.Context, all []Observer, e Event, of func(o *Observer) callback) context.Context {
	for i := range all {
		if fn := of(&all[i]); fn != nil {
			e.Context = ctx //nolint:fatcontext // each observer adds to it, once
			ctx = fn(ctx, e)
		}
	}
	return ctx
}

// tell calls a callback of each observer that has it.
func (c *call) tell(callback func(o *Observer) func(Event), e Event) {
	for i := range c.observers {
		if fn := callback(&c.observers[i]); fn != nil {
			fn(e)
		}
	}
}

// caller returns the context that the caller has given, ctx being the one for the
// acquisition.
func (c *call) caller(ctx context.Context) context.Context {
	if c == nil {
		return ctx
	}
	return c.given
}

// waiting tells that the call waits because of why, unless that is known.
func (c *call) waiting(why error) {
	if c == nil || !c.waits.IsZero() {
		return
	}
	c.event.Waited, c.waits = true, time.Now()
	e := c.event
	e.Err, e.Reason = why, reasonOf(c.given, why)
	c.tell(func(o *Observer) func(Event) { return o.Waiting }, e)
}

// waited tells that the call does not wait any more, because of why, which is nil if it
// has succeeded.
func (c *call) waited(why error) {
	if c.waits.IsZero() {
		return
	}
	e := c.event
	e.Took, e.Err, e.Reason = time.Since(c.waits), why, reasonOf(c.given, why)
	c.waits = time.Time{}
	c.tell(func(o *Observer) func(Event) { return o.Waited }, e)
}

// failed tells that the call has failed because of why, if that is not nil.
func (c *call) failed(why error) {
	if c == nil || why == nil {
		return
	}
	c.waited(why)
	e := c.event
	e.Took, e.Err, e.Reason = time.Since(c.began), why, reasonOf(c.given, why)
	c.tell(func(o *Observer) func(Event) { return o.Failed }, e)
}

// granted tells that the call has been granted.
func (c *call) granted() {
	if c == nil {
		return
	}
	c.waited(nil)
	e := c.event
	now := time.Now()
	e.Took, c.began = now.Sub(c.began), now
	c.tell(func(o *Observer) func(Event) { return o.Granted }, e)
}

// extended tells of an attempt to extend the hold of the given context that began at
// start.
func (c *call) extended(hold, ctx context.Context, start time.Time, err error) {
	if c == nil {
		return
	}
	e := c.event
	e.Context, e.Took, e.Err, e.Reason = hold, time.Since(start), err, reasonOf(ctx, err)
	c.tell(func(o *Observer) func(Event) { return o.Extended }, e)
}

// released tells that the hold of the given context has ended because of cause.
func (c *call) released(hold context.Context, cause error) {
	if c == nil {
		return
	}
	e := c.event
	e.Context, e.Took = hold, time.Since(c.began)
	if !errors.Is(cause, ErrReleased) {
		e.Err, e.Reason = cause, kindOf(cause)
	}
	c.tell(func(o *Observer) func(Event) { return o.Released }, e)
}

// releasing tells that the hold is being released by a call with the given context, and
// returns the context for it and a function that tells of the outcome.
func (c *call) releasing(ctx context.Context) (within context.Context, removed func(err error)) {
	if c == nil {
		return ctx, func(error) {}
	}
	e, start := c.event, time.Now()
	e.Context = heeding(ctx, c.observers, e, func(o *Observer) callback { return o.Releasing })
	return e.Context, func(err error) {
		e.Took, e.Err, e.Reason = time.Since(start), err, reasonOf(ctx, err)
		c.tell(func(o *Observer) func(Event) { return o.Removed }, e)
	}
}

// failure tells that a node has failed, if a is of that kind. That a token was given up
// is not the node's fault.
func (c config) failure(node, op string, a answer) {
	if a.state != NodeRefused && a.state != NodeFailed || errors.Is(a.err, errGivenUp) {
		return
	}
	for _, o := range c.observers {
		if o.NodeFailed != nil {
			o.NodeFailed(NodeFailure{Node: node, Op: op, State: a.state, Err: a.err})
		}
	}
}

// noQuorum tells that too many nodes have failed.
func (c config) noQuorum(op string) {
	for _, o := range c.observers {
		if o.NoQuorum != nil {
			o.NoQuorum(op)
		}
	}
}

// reasonOf returns of which kind the error of a call with the given context is. The error
// alone does not tell: of nodes that do not answer in time one hears of deadlines, too.
func reasonOf(ctx context.Context, err error) Reason {
	switch {
	case ctx.Err() == nil || !errors.Is(err, ctx.Err()):
		return kindOf(err)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return ReasonTimeout
	}
	return ReasonCanceled
}

// kindOf returns of which kind an error is that is not due to a caller's context.
func kindOf(err error) Reason {
	switch {
	case err == nil:
		return ReasonNone
	case errors.Is(err, ErrClosed):
		return ReasonClosed
	case errors.Is(err, errDeadline):
		return ReasonDeadline
	case errors.Is(err, errDenied):
		return ReasonDenied
	case errors.Is(err, ErrLocked):
		return ReasonTaken
	}
	if _, ok := errors.AsType[*QuorumError](err); ok {
		return ReasonNoQuorum
	}
	return ReasonOther
}
