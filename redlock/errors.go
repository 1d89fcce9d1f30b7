package redlock

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrLocked is what [errors.Is] finds in a [*LockedError]: TryLock found the lock taken.
var ErrLocked = errors.New("redlock: locked")

// ErrLost is the cause of a hold's end when it was not unlocked: its deadline passed, or so
// many nodes denied having its key that no quorum was left. It is also what Unlock, Extend
// and Do return for such a hold.
var ErrLost = errors.New("redlock: lost")

// ErrReleased is the cause of a hold's end after Unlock, and the error of an Extend
// that comes after it.
var ErrReleased = errors.New("redlock: released")

// ErrClosed is returned by Lock and TryLock after [Nodes.Close], and is the reason in
// the [ErrLost] of the holds that Close ended.
var ErrClosed = errors.New("redlock: nodes are closed")

// Reasons for which a node did not do as asked, besides those its client gives.
var (
	errOverdue    = errors.New("no answer within the node timeout")
	errSilent     = errors.New("not asked: an earlier call is still unanswered")
	errConnecting = errors.New("no connection yet")
	errBusy       = errors.New("not asked: it is too far behind with earlier calls")
	errDeadline   = errors.New("its deadline passed without a renewal")
	errDenied     = errors.New("too many nodes do not have its key")
	errLate       = errors.New("the quorum answered after the deadline")
	errGivenUp    = errors.New("the token was given up before this request arrived")
)

// What is refused instead of a panic later.
var (
	errNilContext  = errors.New("redlock: context is nil")
	errNilFunction = errors.New("redlock: function is nil: must be the function to run under the lock")
	errNoMutex     = errors.New("redlock: mutex is not valid: must come from NewMutex")
	errNoNodes     = errors.New("redlock: nodes are not valid: must come from NewNodes")
	errNoHold      = errors.New("redlock: hold is not valid: must come from Lock or TryLock")
)

// LockedError is returned by TryLock when the free nodes are no quorum, and is in the error
// of a Lock whose context ended in that state.
type LockedError struct {
	// Name is the lock's name.
	Name string
	// Key is its key on the nodes.
	Key string
	// Owner is the value of the key that most nodes have, empty if that is not known: for
	// locks of this package what [WithOwner] says, a slash, and a random token.
	Owner string
	// NoExpiry has the nodes whose key never expires, if the lock cannot be had without
	// them. Locks of this package expire: the key belongs to something else, or somebody
	// removed its TTL. It stays until somebody deletes it.
	NoExpiry []string
	// Remaining is how long, from the answers, until enough nodes' keys have expired if
	// nobody extends them. It is zero if that is not known.
	Remaining time.Duration
}

// Error names the lock, and what is known of its holder.
func (e *LockedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "redlock: %q is locked", e.Name)
	if e.Owner != "" {
		fmt.Fprintf(&b, " by %.300q", e.Owner)
	}
	if e.Remaining > 0 {
		fmt.Fprintf(&b, " (for %v, unless extended)", e.Remaining)
	}
	if len(e.NoExpiry) > 0 {
		fmt.Fprintf(&b, ", for ever: key %q has no expiry on %s; it was not set by a lock of this package, "+
			"and stays until its owner or an operator deletes it (DEL)", e.Key, strings.Join(e.NoExpiry, " and "))
	}
	return b.String()
}

// Is reports whether target is [ErrLocked].
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// NodeState is what a node had said when an operation was decided.
type NodeState int

const (
	// NodePending means that the outcome was decided before the node answered.
	NodePending NodeState = iota
	// NodeGranted means that the node did as asked.
	NodeGranted
	// NodeLocked means that the node has the key of another acquisition.
	NodeLocked
	// NodeMissing means that the node does not have the key.
	NodeMissing
	// NodeRefused means that the node was reached and may not be counted, see
	// [WithMinUptime].
	NodeRefused
	// NodeFailed means that there was no answer in time, or an error.
	NodeFailed
)

// String returns the state in one word.
func (s NodeState) String() string {
	switch s {
	case NodePending:
		return "pending"
	case NodeGranted:
		return "granted"
	case NodeLocked:
		return "locked"
	case NodeMissing:
		return "missing"
	case NodeRefused:
		return "refused"
	case NodeFailed:
		return "failed"
	default:
		return fmt.Sprintf("NodeState(%d)", int(s))
	}
}

// NodeStatus is what one node contributed to a [QuorumError].
type NodeStatus struct {
	// Node is the node's address.
	Node string
	// State is what it answered.
	State NodeState
	// Err is why, for the states refused and failed.
	Err error
}

// QuorumError is returned when too many nodes failed for a quorum. It wraps the errors
// of the nodes.
type QuorumError struct {
	// Op is what was tried: "acquire", "extend" or "release".
	Op string
	// Name is the lock's name.
	Name string
	// Quorum is how many nodes had to agree.
	Quorum int
	// Nodes has the state of every node, in the order of [NewNodes].
	Nodes []NodeStatus
}

// Error lists all nodes.
func (e *QuorumError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "redlock: no quorum of %d to %s %q:", e.Quorum, e.Op, e.Name)
	for i, n := range e.Nodes {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %s %v", n.Node, n.State)
		if n.Err != nil {
			fmt.Fprintf(&b, " (%v)", n.Err)
		}
	}
	return b.String()
}

// Unwrap returns the nodes' errors.
func (e *QuorumError) Unwrap() []error {
	var all []error
	for _, n := range e.Nodes {
		if n.Err != nil {
			all = append(all, n.Err)
		}
	}
	return all
}

// UptimeError is the error of a node that [WithMinUptime] does not trust yet.
type UptimeError struct {
	// Uptime is what the node reported, in whole seconds.
	Uptime time.Duration
	// Min is what it must certainly have reached.
	Min time.Duration
}

// Error names both.
func (e *UptimeError) Error() string {
	return fmt.Sprintf("the node has been up for %v only, less than %v for certain", e.Uptime, e.Min)
}
