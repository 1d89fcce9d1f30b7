package redlock

import (
	"context"
	"fmt"
	"time"
)

// Observer holds optional callbacks about what mutexes do, for metrics and traces; nil
// ones are skipped, and cost nothing. They are called synchronously, by the goroutine
// that does the work and often with locks held. So they must be quick, must not block,
// and must not call this package. They may be called by several goroutines at a time,
// though in order for each acquisition and each hold.
//
// The callbacks come in pairs, whatever happens, so that what is counted up comes down
// again:
//
//   - Acquiring is followed by one of Granted and Failed,
//   - Waiting by Waited, before that acquisition's Granted or Failed,
//   - Granted by Released, when the nodes are closed at the latest,
//   - Releasing by Removed.
type Observer struct {
	// Acquiring is called when a Lock or TryLock begins, by the caller's goroutine, with
	// the caller's context. What it returns must derive from that; it is the context of
	// the acquisition's requests and of its later events. The hold's context is not
	// derived from it. Of e only Name is known.
	Acquiring func(ctx context.Context, e Event) context.Context
	// Waiting is called when a Lock starts to wait because its first attempt was not
	// granted; Err is why.
	Waiting func(e Event)
	// Waited is called when the wait is over, with an Err if it did not succeed. Took is
	// how long it lasted.
	Waited func(e Event)
	// Granted is called when an acquisition has succeeded. Took is the time since
	// Acquiring.
	Granted func(e Event)
	// Failed is called when an acquisition has failed, Err being why, before the call
	// returns. Took is the time since Acquiring.
	Failed func(e Event)
	// Extended is called after each attempt to extend a hold, of [Hold.Extend] or of the
	// renewal's own goroutine, unless the hold ended before. Took is how long it took, and
	// Err says why the deadline did not move.
	Extended func(e Event)
	// Released is called when a hold has ended in this process, however it did: Err is
	// nil if it was given up, and otherwise says how it was lost. Took is how long it
	// was held.
	Released func(e Event)
	// Releasing is called after Released when a hold is given up, by the caller of
	// Unlock, with that call's context. What it returns must derive from that.
	Releasing func(ctx context.Context, e Event) context.Context
	// Removed is called when that call of Unlock is about to return; Err is what it
	// returns. Took is the time since Releasing.
	Removed func(e Event)

	// NodeFailed is called when a node has not done its part in a request for a lock,
	// whether or not the others were a quorum: there was no answer in time, an error, or
	// the node may not be counted. It may come after the request is decided. It is also
	// called, with the operation "subscribe", when a node does not publish releases.
	NodeFailed func(f NodeFailure)
	// NoQuorum is called when so many nodes have failed in a request that the others are no
	// quorum: once for each attempt, with the operation, "acquire", "extend" or "release".
	NoQuorum func(op string)
}

// Event is what happened to an acquisition of a lock.
type Event struct {
	// Context is the acquisition's, as returned by Acquiring; for Extended and Released it
	// is the hold's, and for Removed what Releasing has returned.
	Context context.Context
	// Name is the name of the lock.
	Name string
	// Waited is set, for Granted and after, if the acquisition had to wait.
	Waited bool
	// Took is how long it took, as each callback says.
	Took time.Duration
	// Err says why something did not succeed, and for Released why the hold ended if it was
	// not given up.
	Err error
	// Reason is the kind of Err.
	Reason Reason
}

// NodeFailure is what a node did not do.
type NodeFailure struct {
	// Node is the node's address.
	Node string
	// Op is what it was asked: "acquire", "extend", "release" or "subscribe".
	Op string
	// State is [NodeRefused] or [NodeFailed].
	State NodeState
	// Err is why.
	Err error
}

// Reason is the kind of reason for which a hold is lost or an acquisition fails. There are
// few enough to label a metric.
type Reason int

const (
	// ReasonNone means that all went well.
	ReasonNone Reason = iota
	// ReasonDeadline means that the deadline passed without a renewal.
	ReasonDeadline
	// ReasonDenied means that too many nodes do not have the key.
	ReasonDenied
	// ReasonTaken means that the lock was found taken.
	ReasonTaken
	// ReasonNoQuorum means that too many nodes have failed.
	ReasonNoQuorum
	// ReasonClosed means that the nodes were closed.
	ReasonClosed
	// ReasonCanceled means that the caller's context was cancelled.
	ReasonCanceled
	// ReasonTimeout means that the deadline of the caller's context has passed.
	ReasonTimeout
	// ReasonOther is any other.
	ReasonOther
)

// String returns a word; that of [ReasonNone] is empty.
func (r Reason) String() string {
	switch r {
	case ReasonNone:
		return ""
	case ReasonDeadline:
		return "deadline"
	case ReasonDenied:
		return "denied"
	case ReasonTaken:
		return "taken"
	case ReasonNoQuorum:
		return "no_quorum"
	case ReasonClosed:
		return "closed"
	case ReasonCanceled:
		return "canceled"
	case ReasonTimeout:
		return "timeout"
	case ReasonOther:
		return "other"
	default:
		return fmt.Sprintf("Reason(%d)", int(r))
	}
}

// WithObserver adds the callbacks of o. If it is given more than once, all are called, in
// the order of the options. By default there are none.
func WithObserver(o Observer) Option {
	return option(func(c *config) error {
		c.observers = append(c.observers, o)
		return nil
	})
}
