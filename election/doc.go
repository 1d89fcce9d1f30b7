// Package election elects one leader at a time among the processes that stand for it,
// tells a leader of the end of its term before the next one is elected, and shows who
// leads to everybody else.
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
// candidate of its own: a key under the name, attached to the session's lease, with a
// value that tells others what it stands for, such as an address. The oldest key by
// create revision leads. Each candidate watches only the key before its own, so that a
// resignation wakes one of them.
//
// A [Term] is the time for which a candidate leads. It lasts until the leader resigns or
// the term is lost. [Term.Context] is done when it ends; give it, or [Term.With], to
// everything that only a leader may do. [Term.Token] is the term's number.
//
// Run does all of this for a function: it campaigns, calls the function with a context
// that ends with the term, waits for it to return, and only then gives the leadership
// up; after a loss it campaigns again.
//
// [Observe] yields the leader and every change of it, [Current] and [Candidates] read
// once.
//
// [WithEtcdLayout] all of these take part in the elections of clientv3/concurrency and
// etcdctl elect. [Election.Resume] goes on with a term that an earlier process had, see
// [lease.Adopt].
//
// # Guarantees
//
//   - S1: at every revision at most one candidate leads in the store: the oldest.
//     Campaign returns only after it has seen that its own key exists and is the oldest.
//   - S2: tokens strictly increase over the terms of one election, unless etcd is
//     restored from a backup without raising its revision.
//   - S3: no two leaders are ever both before their [Term.Deadline], given that clock
//     rates differ by less than the session's allowance, that no operator revokes
//     leases, deletes keys or restores a backup, and that no etcd leader resumes after a
//     stall longer than its election timeout (it may revoke leases early).
//   - S4: a transaction made by [Term.Txn], and a proclamation, never commits after the
//     leader's key is gone.
//   - Of the calls of Run with one session and name no two have a lead running at once, on
//     whichever Election values, even when one has lost its term and is slow to notice.
//   - L: the first live candidate is elected within the TTL plus one second after the
//     last dead one ahead of it was lost, while etcd has a stable leader. After
//     [Term.Resign]: within one commit and one push, and a read where it was not the
//     second, while its watch is healthy, and otherwise at the lease's next look, a third
//     of the TTL later at most.
//   - What an observer is given is the present state first and then, in order, what
//     happened to the leadership in the store. Changes may be missing: those that were
//     compacted while the observer's client was cut off, and the oldest of more than 128
//     that an observer is behind. It always arrives at the present state.
//
// # What is not guaranteed
//
// That two processes never act as leaders together. A process that is paused between a
// check and a write does not know it, whatever any election says; a write to something
// that checks neither a token nor a [Term.Guard] is not stopped. Writes to etcd itself
// are safe with Txn.
//
// That what Observe and Current show has reached the leader: in the store a candidate
// leads from the revision at which the one before it is gone, and learns of it a moment
// later; one that has crashed is shown until its lease expires.
//
// # Priorities
//
// There is no option that lets a candidate be elected before those who came earlier. The
// guarantees above rest on an order that does not change: the oldest key leads, so what
// a candidate has once seen ahead of it can only get less, and it has one key to watch.
// If a late arrival could be ahead of others, the key that a candidate watches could stop
// being the one that matters; and whoever is about to be elected could be overtaken
// between its check and its first act, so that being elected would take another write,
// and all candidates would have to look at every arrival.
//
// What priorities are wanted for, the leader can do: it sees the candidates and their
// values, and gives its term to the one of its choice by [Term.Transfer], for example
// when somebody has come who runs on a larger machine, or nearer to the data. That takes
// one read and one write, whatever the place of the chosen one in the queue, and those
// who are skipped queue again by themselves.
//
// # Failures
//
//   - The leader crashes: its lease expires after the TTL, and the next is elected.
//   - The leader is cut off, alone or with a minority of etcd's members: its term ends at
//     the deadline, before the server can expire the lease.
//   - The lease is revoked or the leader's key deleted by an operator: the term ends with
//     [ErrLost] at the next look; its transactions and proclamations fail at once. The
//     next candidate is elected meanwhile: operators overrule S3.
//   - A candidate's lease is lost or its key deleted: it queues again at the end.
//   - ctx ends while waiting: Campaign returns at once, the key is removed in the
//     background. If that fails it is tried again with every look, until the lease ends.
//   - Resign during a partition: the term ends at once, Resign returns with its ctx, and
//     the session goes on trying until the lease ends.
//   - A reply is lost: the request is repeated and recognises its own effect. A request
//     that arrives after everybody has given up on it is undone by the next look, or, a
//     proclamation, has no effect once another has succeeded.
//   - Compaction, loss of etcd's leader, a member's restart: invisible; the place in the
//     queue is kept, observers go on. A member that vanishes without a word costs
//     observers up to the stall limit of package watch.
//   - lead fails: Run stops, or steps down and comes back, see [WithRetry]; how often, see
//     [WithMaxTerms].
//   - lead does not return after its context has ended: Run waits. While the lease is
//     renewed nobody else is elected; after a loss others are. Another Run of the same
//     session and name that is elected then waits for a TTL, resigns so that others can
//     lead, and stands again when that lead has returned.
//   - One of several members vanishes, or is cut off from the others: reads go to another,
//     after a second at most.
//   - The session's client is closed: terms are lost, Campaign and Observe fail.
//
// # Cost
//
//	Campaign, nobody leads   1 write
//	Campaign, else           1 write, 1 watch, at most 1 read
//	elected                  nothing for the second candidate, else 1 read
//	Resign                   1 write
//	Proclaim, Term.Txn       1 round trip
//	Transfer                 1 read, 1 write
//	Current, Candidates      1 read
//	Observe                  1 read; 1 watch and 1 read for all loops over one election
//	                         with one client, and an event for each candidate that comes
//	                         or goes (0.3 KB for both, with short values)
//
// While somebody leads or waits it costs nothing but the session's round, see package
// lease.
//
// The queue is that of the ZooKeeper leader election recipe and of
// clientv3/concurrency.
package election
