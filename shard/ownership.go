package shard

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lock"
)

// OwnFunc is what a member does with a shard while it owns it. It is called each time the
// member comes to own a shard, in its own goroutine, and never twice at the same time for
// one shard. ctx is the ownership's.
//
// It should go on until [Ownership.Leaving] is closed, then finish what it is doing and
// return; if ctx ends, it should return at once. When it has returned, the shard is
// released. If it returns too early, panics, or calls [runtime.Goexit], the shard is released as
// well, and the member asks for it again after a pause, which doubles each time, from 100 ms to
// 10 s.
type OwnFunc func(ctx context.Context, o *Ownership) error

// Ownership is one period of owning a shard: a hold on its lock. It lasts until its
// function has returned, or it is lost. All methods may be called from several goroutines.
// The zero value is not valid.
type Ownership struct {
	shard   ID
	hold    *lock.Hold
	began   time.Time
	ctx     context.Context
	cancel  context.CancelCauseFunc
	leaving chan struct{}
	told    chan struct{} // closed when the observer has heard that leaving is
}

func newOwnership(id ID, hold *lock.Hold) *Ownership {
	o := &Ownership{shard: id, hold: hold, began: time.Now(), leaving: make(chan struct{}), told: make(chan struct{})}
	o.ctx, o.cancel = context.WithCancelCause(hold.Context())
	return o
}

// Shard returns which shard it is.
func (o *Ownership) Shard() ID { return o.shard }

// Leaving returns a channel that is closed when the shard should go to another member,
// which is already waiting for it, or when this one is draining. Finish and return: the
// next owner begins one hand-over later. After the drain time, see [WithDrainTimeout], ctx
// ends.
func (o *Ownership) Leaving() <-chan struct{} { return o.leaving }

// Context returns a context with the values of Join's ctx. It is done when the ownership
// ends: at the lease's deadline at the latest, before anybody else can own the shard. Its
// cause wraps [ErrLost] or [ErrReleased].
func (o *Ownership) Context() context.Context { return o.ctx }

// With returns a copy of ctx that also ends when the ownership does, with the same cause.
// The returned function releases its resources.
func (o *Ownership) With(ctx context.Context) (context.Context, context.CancelFunc) {
	within, end := context.WithCancelCause(ctx)
	stop := context.AfterFunc(o.ctx, func() { end(context.Cause(o.ctx)) })
	return within, func() { stop(); end(nil) }
}

// Token returns the fencing token: it strictly increases from one owner of a shard to the
// next.
func (o *Ownership) Token() lock.Token { return o.hold.Token() }

// Key returns the key in etcd that the ownership rests on.
func (o *Ownership) Key() string { return o.hold.Key() }

// Deadline returns the time until which nobody else can own the shard, see
// [lease.Lease.Deadline].
func (o *Ownership) Deadline() time.Time { return o.hold.Deadline() }

// Remaining returns the time left until the deadline, system suspension counted. Zero or
// less means that the ownership is over.
func (o *Ownership) Remaining() time.Duration { return o.hold.Remaining() }

// Err returns nil while the shard is owned, and otherwise the cause of the ownership's end,
// which wraps [ErrLost] or [ErrReleased].
func (o *Ownership) Err() error {
	if err := o.hold.Err(); err != nil && o.ctx.Err() == nil {
		return err
	}
	return context.Cause(o.ctx)
}

// Guard returns conditions that are true only while this ownership's key owns the shard,
// for transactions of the caller's own making.
func (o *Ownership) Guard() []clientv3.Cmp { return o.hold.Guard() }

// Txn returns a transaction that takes effect only while the shard is owned, see
// [lock.Hold.Txn].
func (o *Ownership) Txn(ctx context.Context) clientv3.Txn { return o.hold.Txn(ctx) }

// call calls own, and returns its panic as an error.
func (o *Ownership) call(own OwnFunc) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return own(o.ctx, o)
}

// outcome says what went wrong, if anything did: own has returned err, and was told to
// leave or not.
func (o *Ownership) outcome(err error, told bool) error {
	ended := o.Err()
	switch {
	case ended != nil && (err == nil || errors.Is(err, o.ctx.Err())):
		return ended
	case ended != nil:
		return errors.Join(ended, err)
	case err == nil && !told:
		return errEarly
	default:
		return err
	}
}

// errEarly says that a function has returned nil before it was told to leave.
var errEarly = errors.New("shard: function has returned before it was told to leave")
