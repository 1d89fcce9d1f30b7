package lease

import (
	"errors"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrLost is the cause of a lease's end when it was not closed: the deadline passed without
// a confirmed renewal, the server no longer knows the lease, or the client was closed while
// it was in use.
var ErrLost = errors.New("lease: lost")

// ErrClosed is the cause of a lease's end after Close, and the error of any use
// of a closed session or registration, or of a closed client.
var ErrClosed = errors.New("lease: closed")

var (
	errDeadline     = errors.New("deadline passed without a confirmed renewal")
	errUnknown      = errors.New("the server does not know the lease: it expired or was revoked")
	errClientClosed = errors.New("the etcd client was closed")
	errRefused      = errors.New("the user may not write every key of the lease")
	errDeposed      = errors.New("renewal was acknowledged by a deposed leader")
)

// TakenError is returned by [Register], and reported by [Registration.Err], when the key
// exists under a lease other than the session's.
type TakenError struct {
	// Key is the key that was asked for.
	Key string
	// Value is what it holds.
	Value string
	// Lease is the lease it is attached to, 0 if none.
	Lease clientv3.LeaseID
}

// Error names the key and its owner, and says what can be done.
func (e *TakenError) Error() string {
	if e.Lease == clientv3.NoLease {
		return fmt.Sprintf("lease: key %q exists without a lease, with value %q: remove it, or use WithTakeover", e.Key, e.Value)
	}
	return fmt.Sprintf("lease: key %q is taken by lease %x, with value %q: if that is of a process that has died, "+
		"wait for a TTL, or use WithTakeover", e.Key, int64(e.Lease), e.Value)
}

// within returns err with what was being done, and the package's name once.
func within(what string, err error) error {
	return fmt.Errorf("%s%s: %w", prefix, what, nested{err})
}

const prefix = "lease: "

// nested is an error of this package in the message of another.
type nested struct{ error }

func (e nested) Error() string { return strings.TrimPrefix(e.error.Error(), prefix) }

func (e nested) Unwrap() error { return e.error }
