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
// # The life of an entry
//
//	reserved ──► pending ──► waiting ──► owner ──► removing ──► gone
//	                │           │          │           │         ▲
//	                │ given up  │ given up │ refused   │ refused │ deleted, by us or a look;
//	                ▼           ▼          ▼           ▼         │ or found gone
//	                └───────────┴──────────┴───────────┴──► unsettled
//
// The states, as state.go has them:
//
//   - reserved: a key is set aside for it; nothing was sent.
//   - pending: the enqueue was sent and has no answer. The key may be in the store, or
//     come to be.
//   - waiting: it is in the store, and another entry is in its way, or that is yet to be
//     found out. One that is granted at once passes through it.
//   - owner: it is in the store, and none is in its way. A [Grant] has it.
//   - removing: its deletion was sent and somebody waits for the outcome.
//   - unsettled: its key is in doubt. Nobody waits for it any more, but it may be in the
//     store, or a put without an answer may yet bring it there. A deletion in the
//     background and each look of the lease remove what there is, or turns up. Its key is
//     not used again.
//   - gone: it is not in the store and nothing can bring it there. Its key is free.
//
// From each state it can become gone directly: an operator deletes it, or the enqueue is
// refused. The end of the lease makes every state gone without a request: the server
// deletes what the lease has, and refuses what would be put under it.
//
// What the outcome of each request does:
//
//	request  applied         refused        no answer                  late, after it was given up
//	enqueue  waiting         gone, error    sent again beside it; the  unsettled until a deletion
//	                                        nonce tells whose key      has found it, or the lease
//	                                        is there                   ends
//	delete   gone            unsettled,     sent again; nothing found  nothing is left to delete
//	                         error          then means gone
//	read     waiting, owner  unsettled,     sent again                 ignored
//	                         error
//	look     gone if absent  stays as it    next round                 ignored: judged by revision
//	         or deleted      is
//
// So if the reply to the enqueue is lost and the lease ends while the removal is on its
// way: the entry is pending, then unsettled when its caller gives up, with one put without
// an answer; the lease's end takes its key, refuses the put if it is still on its way, and
// stops the removal. Nothing is left, and nothing has to be done.
//
// An enqueue that was given up is counted: the entry stays unsettled until as many
// deletions have found something as puts are without an answer, or the lease has ended.
// Found absent once proves nothing.
//
// Every waiter watches only the entry before its own, so that a release wakes one.
// The watch has no start revision: one that the store has already reached would put
// the watcher into the server's unsynced group, which is served every 100 ms, and
// stall nearly every lightly contended hand-over. What may have happened before the
// watch began is settled by one read, and by none if the watch began no later than
// the entry was made.
//
// The second in a queue needs no read at all. Once a read or the answer to its enqueue has
// shown exactly one older entry, nothing else will ever be older. It watches the range
// between the two keys. One watch delivers in order of revisions, and whole revisions at
// once: so if the predecessor's deletion arrives, and none of the own key up to and in its
// revision, then the own entry was there at that revision, and nothing older.
//
// Who stands behind an entry of its own session learns from that whether it has come to
// own, and if so reads its own key alone.
//
// Steps and cost:
//
//   - enqueue: one transaction puts the entry and reads the newest two of the queue,
//     of a weighted one also the oldest. Nobody in the way: it owns.
//   - wait: one watch on the predecessor, at most one read.
//   - wake-up: nothing for the second. Else one read confirms that the own entry is there
//     and nothing older is.
//   - release: one transaction deletes the entry if it is still the same.
//   - try: one transaction that puts the entry if the queue is empty and otherwise
//     reads its head.
//
// In a weighted lane the first who does not fit watches all of it for deletions, and
// the others their predecessor, which is put again when it comes to own: so one release
// is one deletion and one put for those who watch.
package queue
