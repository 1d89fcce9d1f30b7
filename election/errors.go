package election

import "errors"

// ErrLost is the cause of a term's end when the leader did not give it up: its lease
// was lost (then the error also is [lease.ErrLost]) or closed, or its key was deleted. A lease
// that somebody revokes takes its keys with it: which of the two is found first is left to
// chance. It is also what Proclaim, Resign, Transfer and Txn return for such a term.
var ErrLost = errors.New("election: lost")

// ErrResigned is the cause of a term's end after Resign or Transfer, and the error of every
// use of the term after that.
var ErrResigned = errors.New("election: resigned")

// ErrNotCandidate is returned by [Term.Transfer] when its target does not wait in the
// election: it has left, never stood, or is the leader itself.
var ErrNotCandidate = errors.New("election: not a candidate")

// ErrUnhealthy is the cause with which the context of a lead ends when the health
// check fails, see [WithHealthCheck].
var ErrUnhealthy = errors.New("election: unhealthy")
