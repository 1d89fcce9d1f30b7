package shard

import (
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lock"
)

// ErrLost is the cause of an ownership's end when its function had not returned: the
// shard's hold was lost (the error is that of package lock, and also is [lease.ErrLost] if
// the lease was the reason), the drain time was over ([ErrDrainTimeout]), or the member
// was closed.
var ErrLost = lock.ErrLost

// ErrReleased is the cause of an ownership's end after its function has returned.
var ErrReleased = lock.ErrReleased

// ErrDrainTimeout is the cause of an ownership's end if its function did not return within
// the drain time after it was told to leave. It is an [ErrLost].
var ErrDrainTimeout = fmt.Errorf("shard: function has not returned within the drain time: %w", ErrLost)

// ErrClosed is returned by a closed member or router, and by calls that wait for them.
var ErrClosed = errors.New("shard: closed")

// ErrFull is returned by [Join] when the group has [MaxMembers] members.
var ErrFull = fmt.Errorf("shard: group has %d members already, and can have no more", MaxMembers)

// ErrReplaced is what a member ends with when another process has joined under its name, after
// it was away for longer than its TTL: from then on it owns nothing, and has to be closed. It
// is known when the other has renewed its lease a few times, about a TTL after it has joined;
// until then [Member.Err] says that the key is taken.
var ErrReplaced = errors.New("shard: another process has joined under the member's name")

// ShardsError is returned by [Join] when the group has another number of shards, and is
// what a [Router] ends with if the group is given another number. To change it, all members
// have to stop, see docs/operations.md of the repository.
type ShardsError struct {
	// Group is the group's name.
	Group string
	// Want is the number that was asked for, Have the group's.
	Want, Have int
}

// Error names both numbers.
func (e *ShardsError) Error() string {
	return fmt.Sprintf("shard: group %q has %d shards, not %d: all members must agree", e.Group, e.Have, e.Want)
}

// MemberError is returned by [Join] when another member with that name is alive.
type MemberError struct {
	// Group is the group's name.
	Group string
	// Member is the name.
	Member string
	// Lease is the lease of the member that has it.
	Lease clientv3.LeaseID
}

// Error names the member.
func (e *MemberError) Error() string {
	return fmt.Sprintf("shard: group %q has a member %q, which is alive (lease %x): names must be different", e.Group, e.Member, int64(e.Lease))
}

// PanicError is a panic of a function that a member was given.
type PanicError struct {
	// Value is what it panicked with.
	Value any
	// Stack says where.
	Stack []byte
}

// Error says what it panicked with.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// errGoexit says that a function that a member was given has called [runtime.Goexit].
var errGoexit = errors.New("shard: function has ended its goroutine")
