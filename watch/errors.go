package watch

import (
	"errors"
	"fmt"
	"strings"
)

// ErrCompacted is what [errors.Is] finds in a [*CompactedError].
var ErrCompacted = errors.New("watch: history is compacted")

// CompactedError ends a stream without [WithSnapshot] that needs history which
// etcd has removed. What was delivered before is complete up to Requested-1.
type CompactedError struct {
	// Requested is the first revision that was not delivered.
	Requested int64
	// Compacted is the revision up to which history has been removed; a stream
	// may start from it, but not before.
	Compacted int64
}

// Error names both revisions.
func (e *CompactedError) Error() string {
	return fmt.Sprintf("watch: revision %d has been compacted: history begins at %d", e.Requested, e.Compacted)
}

// Is reports whether target is [ErrCompacted].
func (e *CompactedError) Is(target error) bool { return target == ErrCompacted }

// ErrFutureRevision is what [errors.Is] finds in a [*FutureRevisionError].
var ErrFutureRevision = errors.New("watch: revision is in the future")

// FutureRevisionError ends a stream that should resume from a revision more than one above
// the store's. Either the revision is from another cluster, or the cluster was restored
// from a backup without raising its revision: then what was delivered may never have
// happened, and revisions will be reused.
type FutureRevisionError struct {
	// Requested is the revision to resume from.
	Requested int64
	// Current is the store's revision.
	Current int64
}

// Error names both revisions.
func (e *FutureRevisionError) Error() string {
	return fmt.Sprintf("watch: revision %d is in the future: the store is at %d, so at most %d is allowed", e.Requested, e.Current, e.Current+1)
}

// Is reports whether target is [ErrFutureRevision].
func (e *FutureRevisionError) Is(target error) bool { return target == ErrFutureRevision }

// ErrCluster is what [errors.Is] finds in a [*ClusterError].
var ErrCluster = errors.New("watch: another cluster answers")

// ClusterError ends a stream when its client's endpoints lead to a different cluster than
// before: one that was restored from a backup, or was set up again, or is somebody else's.
// Its revisions count something else. See [WithRebuild].
type ClusterError struct {
	// Expected is the ID of the cluster that the stream has followed.
	Expected uint64
	// Actual is the ID of the one that has answered.
	Actual uint64
}

// Error names both IDs, as etcdctl shows them.
func (e *ClusterError) Error() string {
	return fmt.Sprintf("watch: another cluster answers: its ID is %x, that of the one followed so far is %x", e.Actual, e.Expected)
}

// Is reports whether target is [ErrCluster].
func (e *ClusterError) Is(target error) bool { return target == ErrCluster }

// ErrTooLarge is what [errors.Is] finds in a [*TooLargeError].
var ErrTooLarge = errors.New("watch: message is larger than the client accepts")

// TooLargeError ends a stream that needs a message larger than its client accepts, see
// MaxCallRecvMsgSize in [clientv3.Config], which has no limit by default. A stream
// [WithSnapshot] that has begun, and so a cache, does not end: it warns, and goes on once
// the state can be read.
type TooLargeError struct {
	// Key is the key whose value is too large, empty if that is not known.
	Key string
	// Size is that of the message in bytes, Limit the largest the client accepts; both 0
	// if that is not known.
	Size, Limit int
	// Reason is what gRPC says.
	Reason string
}

// Error names the key and the sizes.
func (e *TooLargeError) Error() string {
	what := "a change"
	if e.Key != "" {
		what = fmt.Sprintf("the value of %q", e.Key)
	}
	if e.Limit == 0 {
		return fmt.Sprintf("watch: %s is larger than the client accepts: %s", what, e.Reason)
	}
	return fmt.Sprintf("watch: %s is larger than the client accepts: a message of %d bytes, of which MaxCallRecvMsgSize allows %d", what, e.Size, e.Limit)
}

// Is reports whether target is [ErrTooLarge].
func (e *TooLargeError) Is(target error) bool { return target == ErrTooLarge }

// largeMark is in what gRPC says of a message that is larger than accepted, before the
// sizes.
const largeMark = "larger than max"

// newTooLarge returns the error for a key, empty if it is not known.
func newTooLarge(key string, err error) *TooLargeError {
	e := &TooLargeError{Key: key, Reason: err.Error()}
	if _, sizes, ok := strings.Cut(e.Reason, largeMark); ok {
		if n, _ := fmt.Sscanf(sizes, " (%d vs. %d)", &e.Size, &e.Limit); n != 2 {
			e.Size, e.Limit = 0, 0
		}
	}
	return e
}
