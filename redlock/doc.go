// Package redlock provides locks on Redis: the plain lock on one server, and Redlock on
// three or more independent ones. It gets as much out of Redis as there is to
// get, and says where that ends. For a lock that promises more, see package lock.
//
// # Use
//
//	nodes, err := redlock.NewNodes(clients) // []redis.UniversalClient, of go-redis
//	...
//	defer nodes.Close(ctx)
//	mutex, err := redlock.NewMutex(nodes, "reports/nightly")
//	...
//	err = mutex.Do(ctx, func(ctx context.Context, h *redlock.Hold) error {
//		return writeReport(ctx) // ctx ends if the lock is lost
//	})
//
// # Model
//
// [Nodes] are the servers, a [Mutex] is a name on them, and each successful [Mutex.Lock]
// is a separate [Hold]: goroutines that share a Mutex exclude each other as
// processes do. On each node the lock is a key with the lock's name and a TTL, whose
// value is a random token of the attempt. Whoever has the key on a majority of the nodes
// holds the lock, until its [Hold.Deadline]: the time when the requests were sent, plus the
// TTL, less one percent of it and two milliseconds for the drift of clocks. Holds extend
// themselves every third of the TTL; [Hold.Context] is done when a hold ends, at its
// deadline at the latest, even while every node hangs.
//
// The algorithm is Redlock (https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/).
// Where that page says "optionally", this package does: keys are extended, timeouts per
// node are short, and a node that restarted can be kept from voting ([WithMinUptime]).
//
// # There is no fencing token
//
// Nothing on the nodes increases from one holder to the next, so a resource cannot
// tell an older holder's write from a newer one's. Any holder may be paused between a
// check of [Hold.Err] and the write it was for, until after its deadline; then both
// it and its successor write. Use a lock of this package where that only means work done
// twice, and package lock, which has tokens and guarded transactions, where it would cost
// data.
//
// # When two hold the lock at once
//
// While none of the following happens, and nobody writes to the keys, no two holds have
// Err() == nil at the same time:
//
//   - A clock jumps. Redis counts TTLs by its wall clock. If that is set forward on so
//     many nodes that the rest are no majority, keys there expire early and the lock is
//     granted again. This machine's wall clock does not matter: the deadline is kept by
//     a monotonic clock, which on Linux also counts time in suspension.
//   - A clock drifts by more than the allowance ([WithDrift]).
//   - A node restarts and has lost keys: it has no append-only file, or one that is
//     not synced on every write (appendfsync always) when the machine fails. It
//     votes again at once. [WithMinUptime] withholds its vote until what it forgot has
//     expired, if all clients use it; in the meantime there is one node less. It helps on
//     one node, too.
//   - A node fails over to a replica. Replication is asynchronous, so the key may not
//     have arrived, and the new server's uptime does not show that. WAIT does not
//     help, because it neither holds back the grant nor survives a partition. Nodes
//     should have no replicas that take over.
//   - Keys are evicted (maxmemory-policy other than noeviction), flushed or deleted.
//
// And a process that is paused does not know that it is paused. Its hold is over when it
// resumes, but the statement after its last check runs first.
//
// # Failures
//
//   - Fewer than half of the nodes hang, or are down, slow or loading: nothing changes. An
//     operation returns with the answers of the others. A hanging node costs time
//     only when its vote is needed, and then the node timeout ([WithNodeTimeout]).
//   - Half of the nodes or more do: TryLock, Extend and Unlock return a [*QuorumError],
//     which has the state of each node, after the node timeout; Lock tries again until its
//     context ends; holds last until their deadlines.
//   - Nodes are slower than the node timeout: an answer to an extension counts until the
//     deadline, and the next one goes out beside it after a twentieth of the TTL. Lock waits
//     longer with each attempt, up to a third of the TTL. TryLock, Extend and Unlock
//     return after the node timeout.
//   - A certificate does not match, or the user lacks permission: Lock fails at once with
//     the cause. If the node has worked before, Lock keeps trying: somebody will fix it.
//   - A reply is lost with its connection: the request is repeated at once, up to three
//     times, and recognises its own key.
//   - A request arrives after everybody has given up on it: it finds the tombstone that
//     the removal left where the outcome was unknown, and does nothing. Tombstones live
//     for the TTL, but at least 30 s. Only a request that is even later leaves
//     a key, which nobody holds, until its TTL has passed.
//   - So many nodes deny having the key that no quorum is possible: the hold ends at once,
//     with [ErrLost]. If a minority lost the key, it is put back there after a quorum has
//     confirmed the hold, and does not count before the next round.
//   - ctx ends: every call returns at once, except those that hold something for the
//     caller: Do, TryDo, Run and [Nodes.Close] first release it, within the grace
//     period ([WithGrace]). Keys that an attempt may have left are removed in the
//     background, and Close waits for that, too.
//   - The holder crashes: its keys expire.
//
// # Waiting
//
// There is no queue and no fairness. A waiter subscribes to the lock's channel on every
// node, on one connection per node that all waiters of the [Nodes] share. Unlock
// publishes there; once a majority has published, the longest waiter of each process is
// woken. Only that one asks: about once a second while it hears nothing (the waiters of
// many locks four times a second in all, while nodes publish releases), and when enough
// keys must have expired. The other waiters for the name send nothing. If contenders
// split the nodes so that none has a majority, they give up what they have and try again
// after a random time of a few milliseconds.
//
// # Cost
//
//	Lock, free    one script on each node, at once
//	Lock, taken   the same twice, and a subscription to each node; the script once a second
//	TryLock       one script on each node
//	Unlock        one script on each node that may have the key
//	held          one script on each node every third of the TTL
//
// A call returns with the majority's answers. The acquire script is two reads and a
// write, the others are a read and a write. A hold has two timers and no goroutine;
// goroutines that have made a call are kept for another, for at most two seconds. A
// server that does not know a script is sent it once.
//
// # Settings of go-redis that matter
//
// The node timeout applies whatever these are: nobody waits longer for a client. But a
// call that was given up goes on in the background until the client gives up too, and
// keeps its connection. After a timeout, a node is therefore asked only once per node
// timeout until it has answered; other operations, except renewals, count it as failed at
// once.
//
//   - ContextTimeoutEnabled: true is recommended. Without it go-redis ignores the
//     deadline that comes with each call, and such calls end after ReadTimeout.
//   - ReadTimeout, WriteTimeout (5 s): the upper limit of a call. A slower answer
//     does not count; the default is right with a TTL of 10 s or more. A renewal on a
//     connection that has died without a word ends after ReadTimeout, and three may be
//     under way at a node: with a shorter TTL, or where routers forget connections, set a
//     third of the TTL.
//   - MaxRetries (3) has no effect: only this package repeats requests, because it
//     must know which were repeated.
//   - DialTimeout (5 s), DialerRetries (5): how long a dial goes on, which occupies a
//     place in the pool. With DialerRetries: 1, errors name the cause of a refused
//     connection rather than a timeout.
//   - PoolSize (10 per CPU): how many calls to a node can run at a time. A quarter
//     is reserved for renewals. Acquisitions and releases that find no place wait before
//     they begin, which does not count against the node timeout; nor does the time to
//     open a connection, for up to three node timeouts.
//   - Hooks, TLS, users: as for all commands. A user needs evalsha, eval, get, set, del,
//     exists, pttl, pexpire and publish on the keys, subscribe, unsubscribe and ping;
//     without permission for the channel, waiters poll. [WithMinUptime] needs info. All
//     keys and channels begin with the prefix of [WithKeyPrefix].
//
// A client of a cluster, or of a fail-over group, is one node. A lock's keys are in one
// slot there. While the slot moves to another server, holds go on, and Lock waits for the
// end of the move. After an unanswered call, a client of a cluster is told to refresh its
// map of the cluster, which by itself it does once a minute. Whether it answers is known of it
// as a whole: when one of its servers hangs, locks on the others may wait as well, or fail, until
// the calls to that one have ended. A ring is refused.
package redlock
