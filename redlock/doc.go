// Package redlock provides locks on Redis: the plain lock on one server, and Redlock on
// three or more that know nothing of each other. It takes from Redis what there is to
// take, and says where that ends. For the lock that ends later, see package lock.
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
// [Nodes] are the servers, a [Mutex] is a name on them, and each [Mutex.Lock] that
// succeeds is a [Hold] of its own: goroutines that share a Mutex exclude each other as
// processes do. On each node the lock is a key, named as the lock and with a TTL, whose
// value is a random token of the attempt. Whoever has the key on a majority of the nodes
// holds the lock, until its [Hold.Deadline]: when the requests were sent, plus the TTL,
// less one percent of it and two milliseconds for the drift of clocks. Holds extend
// themselves every third of the TTL; [Hold.Context] is done when one ends, at its
// deadline at the latest, even while every node hangs.
//
// The algorithm is Redlock (https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/).
// Where that page says "optionally", this package does: keys are extended, timeouts per
// node are short, and a node that restarted can be kept from voting ([WithMinUptime]).
//
// # There is no fencing token
//
// Nothing on the nodes increases from one holder to the next, so that a resource could
// tell an older holder's write from a newer one's. Any holder may be paused between a
// look at [Hold.Err] and the write it was for, for longer than its deadline; then both
// it and its successor write. Use a lock of this package where that costs work done
// twice, and package lock, which has tokens and guarded transactions, where it costs
// data.
//
// # When two hold the lock at once
//
// While none of the following happens, and nobody writes to the keys, no two holds have
// Err() == nil at one time:
//
//   - A clock jumps. Redis counts TTLs by its wall clock. If it is set forward on so
//     many nodes that the rest is no majority, keys there expire early and the lock is
//     granted again. This machine's wall clock does not matter: the deadline is kept by
//     a monotonic clock, which on Linux also counts time in suspension.
//   - A clock drifts by more than the allowance ([WithDrift]).
//   - A node restarts and has lost keys: without append-only file, or with one that is
//     not synced on every write (appendfsync always) when the machine fails. It
//     votes again at once. [WithMinUptime] withholds its vote until what it forgot has
//     expired, if all clients use it, at the cost of a node less for so long. On one
//     node, too.
//   - A node fails over to a replica. Replication is asynchronous, so the key may not
//     have arrived, and the new server's uptime says nothing of that. WAIT does not
//     help, because it neither holds back the grant nor survives a partition. Nodes
//     should have no replicas that take over.
//   - Keys are evicted (maxmemory-policy other than noeviction), flushed or deleted.
//
// And a process that is paused does not know that it is paused. Its hold is over when it
// goes on, but the statement after the check of that runs first.
//
// # Failures
//
//   - Fewer than half of the nodes hang, are down, slow, or loading: nothing changes. An
//     operation returns with the answers of the others. A node that hangs costs time
//     only when its vote is needed, and then the node timeout ([WithNodeTimeout]).
//   - Nodes are slower than the node timeout: an answer to an extension counts until the
//     deadline, and the next goes out beside it after a twentieth of the TTL. Lock waits
//     longer with each attempt, up to a third of the TTL. TryLock, Extend and Unlock
//     return after the node timeout.
//   - Certificates that do not fit, and users that may not: Lock fails at once with the
//     cause. If the node has worked before, Lock goes on: somebody will mend it.
//   - Half of them or more: TryLock, Extend and Unlock return a [*QuorumError], which
//     has the state of each node, after the node timeout; Lock tries again until its
//     context ends; holds last until their deadlines.
//   - A reply is lost with its connection: the request is repeated at once, up to three
//     times, and recognises its own key.
//   - A request arrives after everybody has given up on it: it finds the tombstone that
//     the removal left where the outcome was unknown, and does nothing. Tombstones live
//     for the TTL, at least 30 s. Only a request that is later than that leaves
//     a key, which nobody holds, until its TTL has passed.
//   - So many nodes deny having the key that no quorum can: the hold ends at once, with
//     [ErrLost]. When a minority lost it, it is put back there after a quorum has
//     confirmed the hold, and does not count before the next round.
//   - ctx ends: every call returns at once, but for those that hold something for the
//     caller: Do, TryDo, Run and [Nodes.Close] first give it back, within the grace
//     period ([WithGrace]). Keys that an attempt may have left are removed in the
//     background, and Close waits for that, too.
//   - The holder crashes: its keys expire.
//
// # Waiting
//
// There is no queue and no fairness. A waiter subscribes to the lock's channel on every
// node, on one connection to each that all waiters of the [Nodes] share. Unlock
// publishes there; when a majority has, the waiter of a process that waits longest is
// woken. It alone asks: about once a second while it hears nothing (the waiters of many
// locks four times a second in all, while releases are told), and when enough keys must have
// expired. The others of its name send nothing. Contenders that took the lock from each other, each with some nodes,
// give up what they have and try again after a random time of a few milliseconds.
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
// write, the others are a read and a write. A hold has two timers and no goroutine; those
// that have made a call are kept for another, for two seconds at most. A server that does
// not know a script is sent it once.
//
// # Settings of go-redis that matter
//
// The node timeout holds whatever these are: nobody waits for a client any longer. But a
// call that was given up goes on in the background until the client gives up, too, and
// keeps its connection. After a timeout a node is therefore asked only once in a node
// timeout, until it has answered, and other operations but renewals count it as failed at
// once.
//
//   - ContextTimeoutEnabled: true is recommended. Without it go-redis ignores the
//     deadline that comes with each call, and such calls end after ReadTimeout.
//   - ReadTimeout, WriteTimeout (5 s): how long, at the most. An answer that is slower
//     does not count; the default is right.
//   - MaxRetries (3) has no effect: requests are repeated by this package only, which
//     must know that it was.
//   - DialTimeout (5 s), DialerRetries (5): how long a dial goes on, which occupies a
//     place in the pool. With DialerRetries: 1 errors name the cause of a refused
//     connection rather than a timeout.
//   - PoolSize (10 for each processor): as many calls to a node at one time. A quarter
//     is left to renewals. Acquisitions and releases that find no place wait before
//     they begin, which does not count against the node timeout; nor does what it takes to
//     make a connection, for three node timeouts.
//   - Hooks, TLS, users: as for all commands. A user needs evalsha, eval, get, set, del,
//     exists, pttl, pexpire and publish on the keys, subscribe, unsubscribe and ping;
//     without permission for the channel waiters poll. [WithMinUptime] needs info. All
//     keys and channels begin with the prefix of [WithKeyPrefix].
//
// A client of a cluster, or of a fail-over group, is one node. A lock's keys are in one slot
// there. While that moves to another server holds go on, and Lock waits for the end. After a call that nobody has answered, a client of a cluster is told to look who serves
// what: by itself it does so once a minute. A ring is refused.
package redlock
