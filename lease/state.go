package lease

import "fmt"

// State says how a lease is doing.
type State int

const (
	// Healthy means that the last renewal that was due has been confirmed.
	Healthy State = iota
	// Suspended means that a renewal is overdue. The lease is valid until its
	// deadline, and healthy again once a renewal is confirmed before that.
	Suspended
	// Lost means that the lease has ended without having been closed.
	Lost
	// Closed means that the lease was closed.
	Closed
)

// String returns the state's name in lower case.
func (s State) String() string {
	switch s {
	case Healthy:
		return "healthy"
	case Suspended:
		return "suspended"
	case Lost:
		return "lost"
	case Closed:
		return "closed"
	default:
		return fmt.Sprintf("State(%d)", int(s))
	}
}

// Ended reports whether the lease is over: [Lost] or [Closed].
func (s State) Ended() bool { return s == Lost || s == Closed }
