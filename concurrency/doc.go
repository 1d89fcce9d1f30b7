// Package concurrency has all the names of go.etcd.io/etcd/client/v3/concurrency, with the
// same signatures, built on Conclave: a program changes one import path and keeps its
// code, its keys and its running fleet. Processes with either library share one queue and
// one election, and can be updated in any order.
//
// # What gets better at once
//
//   - A lock or a term is handed over as soon as it is released: the other library's
//     waiters often sleep for up to 100 ms.
//   - [Session.Done] is closed before the server can have let in others, not up to a
//     second later, even when the network is cut.
//   - Lock and Campaign return when their ctx ends, even in a partition, and leave
//     nothing in the queue.
//   - A candidate or waiter whose session has died is told so, and not that it leads.
//   - [Mutex.Unlock] removes only what Lock has put, and says if that was lost.
//   - TryLock of a lock that is taken writes nothing, and does not wait for another goroutine
//     of its session.
//   - [Mutex.Header] has the create revision of the lock's key, which is its fencing
//     token, even after a wait.
//   - A slow or vanished member costs neither the session nor a call that another could
//     have answered, but for the commit of [NewSTM] that writes: of several members it asks
//     one that knows a leader, once.
//   - [NewSTM] reads and validates ranges, phantoms included: [GetRange], [GetPrefix].
//
// # What to look for
//
//   - A [Session] that locks a mutex it already holds gets it again at once, and likewise
//     an election that it leads, as in the other library: goroutines that share a session
//     do not exclude each other. With [WithStrict] they do.
//   - TTLs above 300 s: the lease has the TTL that was asked for, but the session trusts
//     a renewal for no more than 300 s, since a server may not restart a longer one
//     in full. So in a partition of that length it ends before its keys do.
//     If the server makes lease checkpoints, which is off by default, and its leader
//     changes, the keys may end before the session: stay below 300 s there.
//   - After [Session.Orphan], and when the context of [WithContext] ends, keys stay until
//     the lease ends, unless [Mutex.Unlock], [Election.Resign] or [Session.Close] removes
//     them before. What is held through the session is over for this process, and Lock and
//     Campaign return [ErrSessionExpired]: so a program that orphans a session on somebody
//     else's lease at once, only to lock under that lease, has to leave that out.
//   - A session on a lease of [WithLease] takes up what is there under the lease: the key
//     that an earlier process has left, also one of several of a strict session.
//   - [ResumeElection] is for keys of the session's lease: of another one Proclaim returns
//     [ErrElectionNotLeader].
//   - Errors that the other library returns unwrapped, for == comparisons, are returned
//     unwrapped here: [ErrLocked], [ErrSessionExpired], [ErrLockReleased],
//     [ErrElectionNotLeader], [ErrElectionNoLeader], and ctx's own error.
//   - If a candidate's key was deleted while it waited, it queues again and goes on waiting,
//     and if its lease was lost it gets ErrSessionExpired, where the other library tells it
//     that it leads. For the same reason, a program whose credentials may not read the other
//     candidates is refused.
//
// # The next step
//
// [Session.Conclave] is the underlying lease.Session, for packages lock and election. They
// have what these signatures have no room for: contexts that end with a hold, deadlines,
// tokens that a resource can check, guarded transactions, and election.Election.Run. See
// docs/migrating.md of the repository.
package concurrency
