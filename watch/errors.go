package watch

import (
	"errors"
	"fmt"
)

// ErrCompacted is what a [*CompactedError] is.
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

// ErrFutureRevision is what a [*FutureRevisionError] is.
var ErrFutureRevision = errors.New("watch: revision is in the future")

// FutureRevisionError ends a stream that should go on from a revision which is
// more than one above the store's. Either the revision is from another cluster, or
// the cluster was restored from a backup without raising its revision: then what
// was delivered may never have happened, and numbers will be used again.
type FutureRevisionError struct {
	// Requested is the revision to go on from.
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
