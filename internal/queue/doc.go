// Package queue is the revision-ordered queue under all primitives.
//
// An acquisition is an entry: a key under the queue's prefix, attached to the
// session's lease. Entries are ordered by create revision. Identity is always (key,
// create revision), never the key alone, because keys are used again.
//
// A [Lane] says which of the entries before it an entry waits for: all of them
// ([Exclusive], [Writer]), the writers ([Reader]), or as many as it takes to fit
// ([Weighted]). An acquisition of several lanes at once has a key in each, made by one
// transaction and so of one revision.
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
//   - enqueue: one transaction puts the entry and reads the newest two of the queue,
//     of a weighted one also the oldest. Nobody in the way: it owns.
//   - wait: one watch on the predecessor, at most one read.
//   - wake-up: one read confirms that the own entry is there and nothing older is.
//   - release: one transaction deletes the entry if it is still the same.
//   - try: one transaction that puts the entry if the queue is empty and otherwise
//     reads its head.
//
// In a weighted lane the first who does not fit watches all of it for deletions, and
// the others their predecessor, which is put again when it comes to own: so one release
// is one deletion and one put for those who watch.
//
// A put whose reply was lost may be applied at any later time. Its key is therefore
// not used again, and the lease's look removes what turns up under it.
package queue
