package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/look"
	"github.com/conclave-go/conclave/lease"
)

// Errors are a package's own names for the ways in which a grant ends.
type Errors struct {
	// Lost is the cause when the lease or the entry was lost.
	Lost error
	// Released is the cause after Release.
	Released error
	// Taken is the outcome of a Try with somebody in the way.
	Taken error
}

// errDeleted is the cause of the end of a grant whose key is gone.
var errDeleted error = deletedError("its key was deleted by somebody else")

// deletedError says that a key of ours is gone.
type deletedError string

func (e deletedError) Error() string { return string(e) }

// Reason is what lease.ReasonOf returns.
func (deletedError) Reason() lease.Reason { return lease.ReasonDeleted }

// Grant is an acquisition that owns, until it is released or lost.
type Grant struct {
	entry  *entry
	errs   Errors
	ctx    context.Context
	cancel context.CancelCauseFunc
	items  []*look.Item
	one    [1]*look.Item // what items is made of if there is one
	unbind func() bool   // stops waiting for the end of the lease, nil if nobody does
	quiet  bool          // nobody's, or another queue's: not for the observer
	told   *tale         // what the observer was told of it; nil if nothing
	// released is closed once Release knows its outcome, which is in err.
	released chan struct{}
	err      error

	asking sync.Once
	asked  chan struct{} // see Requested

	mu sync.Mutex
	// txns counts transactions under way.
	txns int
	// exposed is set once a transaction may commit at any later time while the entry
	// is there.
	exposed  bool
	ended    bool
	deadline time.Time // when it ended, to cap the lease's deadline
	derived  map[*context.CancelCauseFunc]struct{}
}

// grant makes the entry a grant, unless its lease is over.
func (q *Queue) grant(ctx context.Context, e *entry, c *Call) (*Grant, error) {
	e.becomeOwner()
	g := &Grant{entry: e, errs: q.Errors, quiet: q.Quiet}
	return g.start(c.caller(ctx), c, turn{via: g.Via()})
}

// start begins the grant, of which only the entry, the errors and quiet are set.
func (g *Grant) start(ctx context.Context, c *Call, t turn) (*Grant, error) {
	e := g.entry
	if err := e.lease.Err(); err != nil { // the last look at the deadline
		return nil, err
	}
	g.released = make(chan struct{})
	g.ctx, g.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	g.tellGranted(c, t)
	g.mu.Lock() // both of these may end the grant before it is complete
	defer g.mu.Unlock()
	g.items = g.one[:0]
	deleted, ended := g.deleted, g.leaseEnded
	for i := range e.legs {
		g.items = append(g.items, e.keys.Expect(e.legs[i].key, e.created, deleted, ended))
	}
	if !g.quiet { // nobody waits for the end of the others: it is enough to be told of it
		g.unbind = context.AfterFunc(e.lease.Context(), ended)
	}
	return g, nil
}

// Context returns a context with the values of the acquisition's and none of its
// cancellation, which is done when the grant ends.
func (g *Grant) Context() context.Context { return g.ctx }

// given is the key under which a context of With has the one that With was given, the
// first if that is one of With, too.
type given struct{ grant *Grant }

// With returns ctx ended also by the grant's end, with its cause.
func (g *Grant) With(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Value(given{g}) == nil {
		ctx = context.WithValue(ctx, given{g}, ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	if err := g.Err(); err != nil {
		cancel(err)
		return ctx, func() {}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		cancel(context.Cause(g.ctx))
		return ctx, func() {}
	}
	// Not context.AfterFunc: its goroutine may run after the entry is deleted.
	if g.derived == nil {
		g.derived = make(map[*context.CancelCauseFunc]struct{})
	}
	g.derived[&cancel] = struct{}{}
	return ctx, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.derived, &cancel)
		cancel(nil)
	}
}

// Queue returns the queue that the grant is of.
func (g *Grant) Queue() *Queue { return g.entry.q }

// Key returns the entry's key, the first of several.
func (g *Grant) Key() string { return g.entry.key() }

// Keys returns the entry's keys, in the order of the queue's lanes.
func (g *Grant) Keys() []string {
	keys := make([]string, len(g.entry.legs))
	for i := range g.entry.legs {
		keys[i] = g.entry.legs[i].key
	}
	return keys
}

// Revision returns the entry's create revision.
func (g *Grant) Revision() int64 { return g.entry.created }

// Header returns the header of the answer that told of the entry, as of its create
// revision.
func (g *Grant) Header() lease.Header { return g.entry.header }

// TTL returns the time to live of the entry's lease.
func (g *Grant) TTL() time.Duration { return g.entry.lease.TTL() }

// Deadline returns the lease's deadline, or the end of the grant if that came first.
func (g *Grant) Deadline() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return g.deadline
	}
	return g.entry.lease.Deadline()
}

// Remaining returns the time left until the deadline; zero or less is over.
func (g *Grant) Remaining() time.Duration {
	if g.Err() != nil {
		return 0
	}
	return g.entry.lease.Remaining()
}

// Err returns nil while the grant is valid, and else the cause of its end.
func (g *Grant) Err() error {
	if err := g.entry.lease.Err(); err != nil {
		g.lose(err) // the lease's own goroutine may not have got round to it
	}
	return context.Cause(g.ctx)
}

// Guard returns the condition under which the grant still owns: for transactions of
// the caller's, of which the grant cannot know when they are over.
func (g *Grant) Guard() []clientv3.Cmp {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.exposed = true
	conds := g.entry.guard()
	if g.ended { // the entry may have another holder; this is never true
		conds[0] = clientv3.Compare(clientv3.CreateRevision(g.entry.key()), "<", 0)
	}
	return conds
}

// deleted ends the grant because its entry is known to be gone.
func (g *Grant) deleted() {
	if !g.lose(errDeleted) {
		return
	}
	g.entry.log().Warn("queue: key of the holder was deleted", "revision", g.entry.created)
	if len(g.entry.legs) > 1 || g.entry.legs[0].lane.sole { // others may be there, or it may be there as another wrote it
		g.entry.remove()
	} else {
		g.entry.becomeGone()
	}
}

// leaseEnded ends the grant with its lease.
func (g *Grant) leaseEnded() { g.lose(g.entry.lease.Err()) }

// lose ends the grant because of why.
func (g *Grant) lose(why error) bool {
	if !g.end(fmt.Errorf("%w: %w", g.errs.Lost, why)) {
		return false
	}
	if g.quiet { // nobody was lost
		g.entry.unmark()
	} else {
		g.entry.countDown()
	}
	if lost := g.entry.q.Lost; lost != nil {
		lost(g)
	}
	return true
}

// end makes the grant over unless it is, and reports whether this call did. All
// contexts have ended when it returns.
func (g *Grant) end(cause error) bool {
	g.mu.Lock()
	if g.ended {
		g.mu.Unlock()
		return false
	}
	g.ended = true
	g.deadline = g.entry.lease.Deadline()
	if now := time.Now(); now.Before(g.deadline) {
		g.deadline = now
	}
	g.cancel(cause)
	for cancel := range g.derived {
		(*cancel)(cause)
	}
	g.derived = nil
	g.mu.Unlock()
	for _, it := range g.items {
		it.Remove()
	}
	if g.unbind != nil {
		g.unbind()
	}
	g.tellReleased(cause)
	return true
}

// Release ends the grant locally at once and then deletes its entry, if it is still
// the same. ctx bounds only the wait for that: when it is done first its error is
// returned and the removal goes on in the background. Release returns Errors.Lost if
// the grant was lost before. It may be called again, to wait again.
func (g *Grant) Release(ctx context.Context) error {
	before := ctx.Err()
	left := g.endReleased()
	ctx, done := g.Outlive(ctx, before)
	defer done()
	if left {
		ctx = g.Releasing(ctx)
		g.removeEntry(ctx)
	}
	if err := context.Cause(g.ctx); !errors.Is(err, g.errs.Released) {
		return err
	}
	select {
	case <-g.released:
		return g.err
	default:
	}
	select {
	case <-g.released:
		return g.err
	case <-ctx.Done():
		return fmt.Errorf("releasing %q: it goes on in the background: %w", g.entry.key(), attempt.Ended(ctx, nil))
	}
}

// removeEntry removes the entry of a grant that was released: here and now while ctx
// lasts, since a goroutine costs as much as a tenth of the request, and otherwise in
// the background.
func (g *Grant) removeEntry(ctx context.Context) {
	if ctx.Err() == nil && g.delete(ctx) {
		return
	}
	if !g.entry.keys.Remove(func(ctx context.Context) { g.delete(ctx) }) {
		g.decide(g.unconfirmed())
	}
}

// delete removes the entry, and reports whether the outcome of Release is decided:
// it is not if ctx ended before the lease did.
func (g *Grant) delete(ctx context.Context) bool {
	e := g.entry
	e.becomeRemoving()
	removed, err := e.delete(ctx)
	switch {
	case err == nil && (removed || e.life.mayBeDeleted() && e.lease.Err() == nil):
		e.becomeGone()
		g.decide(nil)
	case e.lease.Err() != nil:
		g.decide(g.unconfirmed())
	case err == nil:
		e.becomeGone()
		g.decide(fmt.Errorf("%w: %w", g.errs.Lost, errDeleted))
	case ctx.Err() != nil:
		return false
	default: // refused
		e.becomeUnsettled()
		g.decide(fmt.Errorf("releasing %q: left to the session: %w", e.key(), err))
	}
	return true
}

// decide notes the outcome of Release.
func (g *Grant) decide(err error) {
	g.err = err
	g.tellRemoved()
	close(g.released)
}

// unconfirmed is the outcome of a release whose lease ended before the server had
// answered. The entry ends with the lease, and the grant was not lost: it was given
// up before.
func (g *Grant) unconfirmed() error {
	return fmt.Errorf("releasing %q: not confirmed before the end of the lease: %w", g.entry.key(), g.entry.lease.Err())
}
