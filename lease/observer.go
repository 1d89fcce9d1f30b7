package lease

import (
	"context"
	"fmt"
	"time"
)

// Observer holds optional callbacks about what a session does, for metrics and traces; nil
// ones are skipped, and cost nothing. They are called synchronously, by the goroutine that
// does the work and often with locks held. So they must be quick, must not block, and must
// not call Conclave, except for those methods of the [Lease] and [Session] they are given
// that take no context. They may be called by several goroutines at a time, though in order
// for each lease, each acquisition and each hold.
//
// An acquisition is a call of Lock, TryLock, Campaign and their like. The callbacks come
// in pairs, whatever happens, so that what is counted up comes down again:
//
//   - Acquiring is followed by one of Granted and Failed,
//   - Waiting by Waited, before that acquisition's Granted or Failed,
//   - Granted by Released, at the end of the session at the latest,
//   - Releasing by Removed.
type Observer struct {
	// Renewed is called after each confirmed renewal, with the time it took
	// from sending the renewal to its confirmation, by the lease's goroutine.
	Renewed func(l *Lease, took time.Duration)
	// Changed is called with each state of a lease, [Healthy] when it has been granted
	// being the first, one call at a time and in order. The last is [Lost] or [Closed].
	Changed func(l *Lease, s State)
	// Lost is called when a lease has ended without having been closed. cause wraps
	// [ErrLost], and [ReasonOf] says of which kind it is.
	Lost func(l *Lease, cause error)

	// Acquiring is called when an acquisition begins, by the caller's goroutine, with
	// the caller's context. What it returns must derive from that; it is the context of
	// the acquisition's requests and of its later events. The hold's context is not
	// derived from it. Of e only Kind and Name are known.
	Acquiring func(ctx context.Context, e Event) context.Context
	// Waiting is called when an acquisition starts to wait for another entry, and again if
	// it has to requeue because its lease was lost or its key deleted.
	Waiting func(e Event)
	// Waited is called when such a wait is over, with an Err if it did not succeed. Took is
	// how long it lasted.
	Waited func(e Event)
	// Granted is called when an acquisition has succeeded. With local hand-off that may be
	// done by the previous holder's goroutine. Took is the time since Acquiring.
	Granted func(e Event)
	// Failed is called when an acquisition has failed, Err being why: by the caller's
	// goroutine, before its call returns. Took is the time since Acquiring.
	Failed func(e Event)
	// Released is called when a hold has ended in this process, however it did: Err is
	// nil if it was given up, and otherwise says how it was lost. Took is how long it
	// was held. It may be called by the lease's goroutine.
	Released func(e Event)
	// Releasing is called after Released when a hold is given up, by the caller of
	// Unlock, Resign or Transfer, with that call's context. What it returns must derive
	// from that, and is the context of the request.
	Releasing func(ctx context.Context, e Event) context.Context
	// Removed is called when the outcome is known: the lock is free or another's, or Err
	// says why that was not confirmed. Took is the time since Releasing.
	Removed func(e Event)
}

// Event is what happened to an acquisition of a lock or an election.
type Event struct {
	// Context is the acquisition's, as returned by Acquiring; for Released it is the
	// hold's, and for Removed what Releasing has returned.
	Context context.Context
	// Kind is the primitive: "mutex", "rwmutex.read", "rwmutex.write", "semaphore",
	// "multi" or "election".
	Kind string
	// Name is the name of the lock or election; of a multi, all its names.
	Name string
	// Key is the acquisition's own key in etcd; empty if it has none yet.
	Key string
	// Predecessor is the key that a waiting acquisition waits for, or waited for last;
	// empty if it has yet to find out, after the reply to its own request was lost. The first
	// waiter of a semaphore waits for any of those that own: it is the newest of them. After a
	// hand-off in memory it is Key itself.
	Predecessor string
	// Followed is the create revision of Predecessor; together they are the identity of
	// the acquisition that was waited for.
	Followed int64
	// Revision is the create revision of Key.
	Revision int64
	// Sequence is how often Key was handed on in memory before: together with Revision it
	// makes the token.
	Sequence int
	// Via says, for Granted and after, how the acquisition came to own.
	Via Via
	// Took is how long it took, as each callback says.
	Took time.Duration
	// Err says, for Released, why the hold ended if it was not given up, and for Waited,
	// Failed and Removed why they did not succeed.
	Err error
	// Reason is the kind of Err.
	Reason Reason
}

// Via is how an acquisition came to own.
type Via int

const (
	// ViaFree means that nobody was ahead of it.
	ViaFree Via = iota
	// ViaQueue means that it had waited in etcd for another: a hand-over.
	ViaQueue
	// ViaHandoff means that a holder in this process has handed it over in memory.
	ViaHandoff
	// ViaLinger means that this process had kept the lock with no one waiting.
	ViaLinger
)

// String returns a word.
func (v Via) String() string {
	switch v {
	case ViaFree:
		return "free"
	case ViaQueue:
		return "queue"
	case ViaHandoff:
		return "handoff"
	case ViaLinger:
		return "linger"
	default:
		return fmt.Sprintf("Via(%d)", int(v))
	}
}

// acquisitions reports whether anybody listens to acquisitions.
func (o Observer) acquisitions() bool {
	return o.Acquiring != nil || o.Waiting != nil || o.Waited != nil || o.Granted != nil ||
		o.Failed != nil || o.Released != nil || o.Releasing != nil || o.Removed != nil
}

// and returns an observer that calls o's callbacks and then more's.
func (o Observer) and(more Observer) Observer {
	return Observer{
		Renewed:   both2(o.Renewed, more.Renewed),
		Changed:   both2(o.Changed, more.Changed),
		Lost:      both2(o.Lost, more.Lost),
		Acquiring: chain(o.Acquiring, more.Acquiring),
		Waiting:   both(o.Waiting, more.Waiting),
		Waited:    both(o.Waited, more.Waited),
		Granted:   both(o.Granted, more.Granted),
		Failed:    both(o.Failed, more.Failed),
		Released:  both(o.Released, more.Released),
		Releasing: chain(o.Releasing, more.Releasing),
		Removed:   both(o.Removed, more.Removed),
	}
}

func both[A any](f, g func(A)) func(A) {
	switch {
	case f == nil:
		return g
	case g == nil:
		return f
	}
	return func(a A) { f(a); g(a) }
}

func both2[A, B any](f, g func(A, B)) func(A, B) {
	switch {
	case f == nil:
		return g
	case g == nil:
		return f
	}
	return func(a A, b B) { f(a, b); g(a, b) }
}

func chain(f, g func(context.Context, Event) context.Context) func(context.Context, Event) context.Context {
	switch {
	case f == nil:
		return g
	case g == nil:
		return f
	}
	return func(ctx context.Context, e Event) context.Context { return g(f(ctx, e), e) }
}
