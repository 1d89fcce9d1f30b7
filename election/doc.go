// Package election elects one leader at a time among the processes that stand for it,
// tells a leader of the end of its term before the next one is elected, and shows
// everybody else who leads.
//
// # Use
//
//	e, err := election.New(session, "scheduler") // a *lease.Session
//	...
//	err = e.Run(ctx, "10.0.0.7:8080", func(ctx context.Context, t *election.Term) error {
//		return schedule(ctx, t.Token()) // ctx ends with the term
//	})
//
// and elsewhere, without a session:
//
//	for leader, err := range election.Observe(ctx, client, "scheduler") {
//		...
//	}
//
// # Model
//
// An [Election] is a name. Each call of [Election.Campaign] or [Election.Run] is a
// separate candidate: a key under the name, attached to the session's lease, with a
// value that tells others who it is, such as an address. The oldest key by
// create revision leads. Each candidate watches the key ahead of its own, the
// first two up to the leader's, so a resignation wakes one of them.
//
// A [Term] is the time for which a candidate leads. It lasts until the leader resigns or
// the term is lost. [Term.Context] is done when it ends; give it, or [Term.With], to
// everything that only a leader may do. [Term.Token] is the term's number.
//
// Run does all of this for a function: it campaigns, calls the function with a context
// that ends with the term, waits for it to return, and only then gives up the
// leadership; after a loss it campaigns again.
//
// [Observe] yields the leader and every change of it; [Current] and [Candidates] read
// once.
//
// [WithEtcdLayout] all of these take part in the elections of clientv3/concurrency and
// etcdctl elect. [Election.Resume] continues a term that an earlier process had, see
// [lease.Adopt].
//
// # Guarantees
//
//   - S1: at every revision at most one candidate leads in the store: the oldest.
//     Campaign returns only after it has seen that its own key exists and is the oldest.
//   - S2: tokens strictly increase from one term of an election to the next, unless etcd
//     is restored from a backup without raising its revision.
//   - S3: no two leaders are ever both before their [Term.Deadline], given that clock
//     rates differ by less than the session's allowance, that no operator revokes
//     leases, deletes keys or restores a backup, and that no etcd leader resumes after a
//     stall longer than its election timeout (it may revoke leases early).
//   - S4: a transaction made by [Term.Txn], and a proclamation, never commits after the
//     leader's key is gone.
//   - No two calls of Run with one session and name have a lead running at the same time,
//     on whichever Election values, even if one has lost its term and is slow to notice.
//   - L: the first live candidate is elected within the TTL plus one second of the death
//     of the last one ahead of it, while etcd has a stable leader. After [Term.Resign] it
//     takes one commit and one push, plus a read unless the candidate was second, while
//     its watch is healthy; otherwise it is elected at the lease's next look, at most a
//     third of the TTL later.
//   - An observer is given the current state first and then, in order, what
//     happened to the leadership in the store. Changes may be missing: those that were
//     compacted while the observer's client was cut off, and the oldest if the observer
//     is more than 128 behind. It always arrives at the current state.
//
// # What is not guaranteed
//
// That two processes never act as leaders together. A process that is paused between a
// check and a write does not know it, whatever any election says; a write to something
// that checks neither a token nor a [Term.Guard] is not stopped. Writes to etcd itself
// are safe with Txn.
//
// That the leader already knows what Observe and Current show: in the store a candidate
// leads from the revision at which the one ahead of it is gone, and it learns of that a
// moment later. A leader that has crashed is shown until its lease expires.
//
// # Priorities
//
// No option lets a candidate be elected before those who came earlier. The guarantees
// above rest on an order that does not change: the oldest key leads, so the keys that
// a candidate has seen ahead of it can only become fewer, and it has one key to watch.
// If a late arrival could get ahead of others, the key that a candidate watches might no
// longer be the one that matters. And whoever is about to be elected could be overtaken
// between its check and its first act, so being elected would take another write,
// and all candidates would have to look at every arrival.
//
// The leader itself can do what priorities are wanted for: it sees the candidates and
// their values, and can hand its term to the one of its choice with [Term.Transfer], for
// example when a candidate has come that runs on a larger machine, or nearer to the data.
// That takes one read and one write, whatever the place of the chosen one in the queue,
// and those who are skipped queue again by themselves.
//
// # Failures
//
//   - The leader crashes: its lease expires after the TTL, and the next is elected.
//   - The leader is cut off, alone or with a minority of etcd's members: its term ends at
//     the deadline, before the server can expire the lease.
//   - An operator revokes the lease or deletes the leader's key: the term ends with
//     [ErrLost] at the next look; its transactions and proclamations fail at once. The
//     next candidate may be elected before that: operators overrule S3.
//   - A candidate's lease is lost or its key deleted: it queues again at the end.
//   - ctx ends while waiting: Campaign returns at once, and the key is removed in the
//     background. If that fails, it is tried again with every look, until the lease ends.
//   - Resign during a partition: the term ends at once, Resign returns when its ctx ends,
//     and the session goes on trying until the lease ends.
//   - A reply is lost: the request is repeated and recognises its own effect. If a request
//     arrives after everybody has given up on it, the next look undoes it; a
//     proclamation has no effect once another has succeeded.
//   - Compaction, loss of etcd's leader, a member's restart: invisible; the place in the
//     queue is kept, and observers go on. A member that vanishes silently costs
//     observers up to the stall limit of package watch.
//   - lead fails: Run stops, or steps down and comes back, see [WithRetry] and, for how
//     often, [WithMaxTerms].
//   - lead does not return after its context has ended: Run waits. While the lease is
//     renewed nobody else is elected; after a loss others are. If another Run of the same
//     session and name is then elected, it waits for a TTL, resigns so that others can
//     lead, and stands again when that lead has returned.
//   - One of several members vanishes, or is cut off from the others: reads go to another,
//     after at most a second.
//   - The session's client is closed: terms are lost, Campaign and Observe fail.
//
// # Cost
//
//	Campaign, nobody leads   1 write
//	Campaign, else           1 write, 1 watch, at most 1 read
//	elected                  nothing for the second and third candidate, else 1 read
//	Resign                   1 write
//	Proclaim, Term.Txn       1 round trip
//	Transfer                 1 read, 1 write
//	Current, Candidates      1 read
//	Observe                  1 read; 1 watch and 1 read for all loops over one election
//	                         with one client, and an event for each candidate that comes
//	                         or goes (0.3 KB for both, with short values)
//
// Leading and waiting cost nothing but the session's round, see package lease.
//
// The queue is that of the ZooKeeper leader election recipe and of
// clientv3/concurrency.
package election
