// Package queue is the revision-ordered queue under all primitives.
//
// An acquisition is an entry: a key under the queue's prefix, attached to the
// session's lease. Entries are ordered by create revision and the oldest one owns.
// Identity is always (key, create revision), never the key alone, because keys are
// used again.
//
// Every waiter watches only the entry before its own, so that a release wakes one.
// The watch has no start revision: one that the store has already reached would put
// the watcher into the server's unsynced group, which is served every 100 ms, and
// stall nearly every lightly contended hand-over. What may have happened before the
// watch began is settled by one read, and by none if the watch began no later than
// the entry was made.
//
// Steps and cost:
//
//   - enqueue: one transaction puts the entry and reads the newest two of the queue.
//     Count one: the lock is held.
//   - wait: one watch on the predecessor, at most one read.
//   - wake-up: one read confirms that the own entry is there and nothing older is.
//   - release: one transaction deletes the entry if it is still the same.
//   - try: one transaction that puts the entry if the queue is empty and otherwise
//     reads its head.
//
// A put whose reply was lost may be applied at any later time. Its key is therefore
// not used again, and the lease's look removes what turns up under it.
package queue
