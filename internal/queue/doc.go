// Package queue is the revision-ordered queue under all primitives.
//
// An acquisition is an entry: a key under the queue's prefix, attached to the
// session's lease. Entries are ordered by create revision. Identity is always (key,
// create revision), never the key alone, because keys are used again.
//
// A look is the linearizable read that goes with each renewal of the lease, every third
// of a TTL: it tells how the keys stand that somebody relies on, or is in doubt about. It
// is package look's. A mark is what an owner that was lost leaves, in a queue with a lock
// delay: see delay.go.
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
// refused. The end of the lease on the server makes every entry gone without a request:
// the server deletes what the lease has, and refuses what would be put under it. Nobody
// notes that: whoever has the entry learns of the lease's end, and drops it as it is.
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
// an answer. The lease's end here, at its deadline at the latest, stops the removal. Its end
// on the server takes the key, and refuses the put if that is still on its way; until then
// the key may be in the way of others. A removal that arrives late finds its own key or
// nothing, since it compares. Nothing is left, and nothing has to be done. A caller that has
// not given up queues again, as a new entry under the session's next lease.
//
// An enqueue that was given up is counted: the entry stays unsettled until as many
// deletions have found something as puts are without an answer, or the lease has ended.
// That the key was absent once proves nothing: a put may come later.
//
// Every waiter but the first two watches only the entry before its own, so that a release wakes
// one, and is told to two.
// The watch has no start revision: one that the store has already reached would put
// the watcher into the server's unsynced group, which is served every 100 ms, and
// stall nearly every lightly contended hand-over. What may have happened before the
// watch began is settled by one read, and by none if the store was still at the revision
// at which the predecessor was last seen.
//
// The second and the third in the queue of an [Exclusive] lane need no read to take over. Once
// a read or the answer to its enqueue has shown an entry all that are older, and these are few,
// nothing else will ever be older. Its watch covers all keys from the least of theirs and its
// own to the greatest, both included. One watch delivers in order of revisions, and whole
// revisions at once: so if the deletions of all that are older have arrived, and none of the own
// key until then, the own entry was there at that revision, and nothing older. A predecessor
// that goes before others costs a read and another watch. If the own key is deleted, by an
// operator or with its lease, that is at one of three times:
//
//   - before: its event comes first, and from then on only a read can tell. If it was before
//     the watch began, the read at the beginning finds it.
//   - in the same revision, as when one lease has both keys: the two events come together,
//     which counts as before.
//   - after: the entry did own, and the grant is lost like any other. The next look ends it,
//     or the lease's end does, and its guarded transactions fail at once.
//
// Who stands behind an entry of its own session, with more before that, knows from it whether
// it has come to own, and if so reads its own key alone.
//
// Steps and cost:
//
//   - enqueue: one transaction puts the entry and reads the newest few of the queue,
//     of a weighted one also the oldest. Nobody in the way: it owns.
//   - wait: one watch on the predecessor, at most one read as it begins.
//   - wake-up: nothing for the second and the third. Else one read confirms that the own entry
//     is there and nothing older is.
//   - release: one transaction deletes the entry if it is still the same.
//   - try: one transaction that puts the entry if the queue is empty and otherwise
//     reads its head.
//   - delay: one transaction more after a wait, which finds no mark in the way and leaves
//     the entry's own.
//
// Enqueues and releases of one session that are asked for at the same time share a
// transaction, each of another name: see batch.go. Tries go out alone, because their
// conditions often fail, as do entries of several keys, of weighted lanes, with a delay, and in
// etcd's layout, where one queue is within another.
//
// In a weighted lane the first who does not fit watches all of it for deletions, and
// the others their predecessor, which is put again when it comes to own: so one release
// is one deletion and one put for those who watch.
package queue
