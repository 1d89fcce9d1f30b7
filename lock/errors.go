package lock

import (
	"errors"
	"fmt"
	"time"
)

// ErrLocked is what [errors.Is] finds in a [*LockedError]: TryLock found the lock taken.
var ErrLocked = errors.New("lock: locked")

// ErrLost is the cause of a hold's end when it was not unlocked: its lease was lost
// (then the error also is [lease.ErrLost]) or closed, or its key was deleted. A lease that
// somebody revokes takes its keys with it: which of the two is found first is left to chance.
// It is also what Unlock, Txn and Do return for such a hold.
var ErrLost = errors.New("lock: lost")

// ErrReleased is the cause of a hold's end after Unlock, and the error of a Txn
// committed after it.
var ErrReleased = errors.New("lock: released")

// LockedError is returned by TryLock when somebody else has the lock.
type LockedError struct {
	// Name is the lock's name.
	Name string
	// Owner is what the first in the queue calls itself, see [WithOwner]; empty
	// for entries of other libraries.
	Owner string
	// Key is its key.
	Key string
	// Token is its token.
	Token Token
	// Since is when it began to wait for the lock, by its own clock.
	Since time.Time
}

// Error names the lock and its owner.
func (e *LockedError) Error() string {
	return fmt.Sprintf("lock: %q is locked by %q (token %v, key %q)", e.Name, e.Owner, e.Token, e.Key)
}

// Is reports whether target is [ErrLocked].
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// StaleTokenError is returned by [Fence.Check] for a token below the highest seen.
type StaleTokenError struct {
	// Token was presented.
	Token Token
	// Highest is the highest token seen so far.
	Highest Token
}

// Error names both tokens.
func (e *StaleTokenError) Error() string {
	return fmt.Sprintf("lock: token %v is stale: %v has been seen", e.Token, e.Highest)
}
