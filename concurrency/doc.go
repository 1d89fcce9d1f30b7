// Package concurrency has the names of go.etcd.io/etcd/client/v3/concurrency, all of them
// with the same signatures, on Conclave: a program changes one import path and keeps its
// code, its keys and its running fleet. Members with either library stand in one queue and
// in one election, in any order of a rolling update.
//
// # What gets better at once
//
//   - A lock or a term is handed over when it is given up: the other library's waiters
//     sleep for up to 100 ms nearly each time.
//   - [Session.Done] is closed before the server can have given the lease to others, not
//     up to a second later, and also when the network is cut.
//   - Lock and Campaign return when their ctx ends, also under a partition, and leave
//     nothing in the queue.
//   - A candidate or waiter whose session has died is told so, not that it leads.
//   - [Mutex.Unlock] removes only what the Lock has put, and says if that was lost.
//   - TryLock of a lock that is taken writes nothing.
//   - [Mutex.Header] has the create revision of the lock's key, which is its fencing
//     token, also after a wait.
//   - A slow or vanished member costs neither the session nor a call that another could
//     have answered.
//   - [NewSTM] reads and validates ranges, phantoms included: [GetRange], [GetPrefix].
//
// # What to look for
//
//   - A [Session] that locks a mutex which it holds already has it again at once, and so in
//     an election that it leads, as in the other library: goroutines that share a session
//     do not exclude each other. With [WithStrict] they do.
//   - TTLs above 300 s: the lease has the TTL that was asked for, but the session counts
//     on no more than 300 s after a renewal, since a server may not restart a longer one
//     in full. So under a partition of that length it ends before its keys do.
//   - After [Session.Orphan], and when the context of [WithContext] ends, keys stay until
//     the lease ends. What is held through the session is over for this process.
//   - Errors that the other library returns as they are, for == comparisons, are returned
//     so here: [ErrLocked], [ErrSessionExpired], [ErrLockReleased], [ErrElectionNotLeader],
//     [ErrElectionNoLeader], and ctx's own error.
//   - Candidates are told ErrSessionExpired where the other library tells them that they
//     lead although their key was deleted while they waited. A program that waits with
//     credentials that may not read the other candidates is refused, for the same reason.
//
// # The way on
//
// [Session.Conclave] is the lease.Session below, for packages lock and election. They have
// what these signatures have no room for: contexts that end with a hold, deadlines, tokens
// that a resource can check, transactions under a guard, and election.Election.Run. See
// docs/migrating.md of the repository.
package concurrency
