package worker

import (
	"context"
	"errors"
	"time"
)

// Locker is a lock of any kind.
type Locker interface {
	Lock(ctx context.Context) (Hold, error)
	Close(ctx context.Context) error
}

// Hold is a lock that is held.
type Hold interface {
	// Token returns the fencing token, 0 if there is none.
	Token() int64
	// Key returns its key in etcd, "" elsewhere.
	Key() string
	// Err returns nil while the hold says that it is valid.
	Err() error
	// Done is closed when it says no more that it is.
	Done() <-chan struct{}
	// Remaining returns the time to the deadline; false if there is none.
	Remaining() (time.Duration, bool)
	// Phantom reports whether the hold has an entry no more, as far as that is known.
	Phantom() bool
	Unlock(ctx context.Context) error
}

// Register is a number in etcd that is written under guard of a hold.
type Register interface {
	Get(ctx context.Context) (int64, error)
	// Put replaces found by value if the hold has the lock, and reports whether it did.
	Put(ctx context.Context, h Hold, stamp string, value, found int64) (bool, error)
}

// errOver is the cause of the end of a hold that gives none.
var errOver = errors.New("the hold is over")

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
