package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/look"
)

// Errors are a package's own names for the ways in which a grant ends.
type Errors struct {
	// Lost is the cause when the lease or the entry was lost.
	Lost error
	// Released is the cause after Release.
	Released error
}

var errDeleted = errors.New("its key was deleted by somebody else")

// Grant is an acquisition that owns, until it is released or lost.
type Grant struct {
	entry   *entry
	errs    Errors
	ctx     context.Context
	cancel  context.CancelCauseFunc
	item    *look.Item
	unbind  func() bool // stops waiting for the end of the lease
	granted time.Time
	// released is closed once Release knows its outcome, which is in err.
	released chan struct{}
	err      error

	mu       sync.Mutex
	ended    bool
	deadline time.Time // when it ended, to cap the lease's deadline
}

// grant makes the entry a grant, unless its lease is over.
func (q *Queue) grant(ctx context.Context, e *entry, began time.Time) (*Grant, error) {
	g := &Grant{entry: e, errs: q.Errors, granted: time.Now(), released: make(chan struct{})}
	g.ctx, g.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	g.item = e.keys.Add(e.key, g.judge)
	g.unbind = context.AfterFunc(e.lease.Context(), func() { g.lose(e.lease.Err()) })
	if err := e.lease.Err(); err != nil { // the last look at the deadline
		g.unbind()
		g.item.Remove()
		g.cancel(nil)
		return nil, err
	}
	if o := q.Session.Observer(); o.Granted != nil {
		ev := e.event()
		ev.Took = g.granted.Sub(began)
		o.Granted(ev)
	}
	return g, nil
}

// Context returns a context with the values of the acquisition's and none of its
// cancellation, which is done when the grant ends.
func (g *Grant) Context() context.Context { return g.ctx }

// With returns ctx ended also by the grant's end, with its cause.
func (g *Grant) With(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(g.ctx, func() { cancel(context.Cause(g.ctx)) })
	return ctx, func() { stop(); cancel(nil) }
}

// Key returns the entry's key.
func (g *Grant) Key() string { return g.entry.key }

// Revision returns the entry's create revision.
func (g *Grant) Revision() int64 { return g.entry.created }

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

// Guard returns the condition under which the grant still owns.
func (g *Grant) Guard() []clientv3.Cmp {
	return []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(g.entry.key), "=", g.entry.created)}
}

// judge ends the grant if a look finds its entry gone.
func (g *Grant) judge(kv *mvccpb.KeyValue, rev int64) {
	if rev >= g.entry.created && !g.entry.is(kv) {
		g.lose(errDeleted)
	}
}

// lose ends the grant because of why.
func (g *Grant) lose(why error) { g.end(fmt.Errorf("%w: %w", g.errs.Lost, why)) }

// end makes the grant over unless it is, and reports whether this call did.
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
	g.mu.Unlock()
	g.item.Remove()
	g.unbind()
	g.tellReleased(cause)
	return true
}

func (g *Grant) tellReleased(cause error) {
	o := g.entry.q.Session.Observer()
	if o.Released == nil {
		return
	}
	ev := g.entry.event()
	ev.Took = time.Since(g.granted)
	if !errors.Is(cause, g.errs.Released) {
		ev.Err = cause
	}
	o.Released(ev)
}

// Release ends the grant locally at once and then deletes its entry, if it is still
// the same. ctx bounds only the wait for that: when it is done first its error is
// returned and the removal goes on in the background. Release returns Errors.Lost if
// the grant was lost before. It may be called again, to wait again.
func (g *Grant) Release(ctx context.Context) error {
	if err := g.Err(); err != nil && !errors.Is(err, g.errs.Released) {
		return err
	}
	if g.end(g.errs.Released) {
		g.settle(ctx)
	}
	if err := context.Cause(g.ctx); !errors.Is(err, g.errs.Released) {
		return err // lost between the two
	}
	select {
	case <-g.released:
		return g.err
	case <-ctx.Done():
		return fmt.Errorf("releasing %q: it goes on in the background: %w", g.entry.key, attempt.Ended(ctx, nil))
	case <-g.entry.lease.Context().Done():
		return g.unconfirmed()
	}
}

// settle removes the entry of a grant that was released: here and now while ctx
// lasts, since a goroutine costs as much as a tenth of the request, and otherwise in
// the background.
func (g *Grant) settle(ctx context.Context) {
	if ctx.Err() == nil && g.delete(ctx) {
		return
	}
	g.entry.keys.Go(func(ctx context.Context) { g.delete(ctx) })
}

// delete removes the entry, and reports whether the outcome of Release is settled:
// it is not if ctx ended before the lease did.
func (g *Grant) delete(ctx context.Context) (settled bool) {
	e := g.entry
	removed, err := e.delete(ctx)
	switch {
	case err == nil && removed:
		e.keys.Release(e.key, e.unsettled)
	case e.lease.Err() != nil:
		g.err = g.unconfirmed()
	case err != nil && ctx.Err() != nil:
		return false
	case err != nil: // refused
		e.keys.Doubt(e.key, e.created, e.unsettled)
		g.err = fmt.Errorf("releasing %q: left to the session: %w", e.key, err)
	default:
		e.keys.Release(e.key, e.unsettled)
		if !e.undeleted {
			g.err = fmt.Errorf("%w: %w", g.errs.Lost, errDeleted)
		}
	}
	close(g.released)
	return true
}

// unconfirmed is the outcome of a release whose lease ended before the server had
// answered.
func (g *Grant) unconfirmed() error {
	return fmt.Errorf("%w: before its release was confirmed: %w", g.errs.Lost, g.entry.lease.Err())
}
