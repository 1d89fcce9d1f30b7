// Package lock provides locks on etcd that are granted in the order of requests,
// tell a holder of its loss before the next one is granted, and come with fencing
// tokens for resources that can check them.
//
// # Use
//
//	session, err := lease.NewSession(ctx, client) // one for the process
//	...
//	mutex, err := lock.NewMutex(session, "reports/nightly")
//	...
//	err = mutex.Do(ctx, func(ctx context.Context, h *lock.Hold) error {
//		return writeReport(ctx, h.Token()) // ctx ends if the lock is lost
//	})
//
// [Mutex.Lock] returns a [Hold], for locks that outlast a function, and
// [Mutex.TryLock] does not wait. Which primitive to choose, and what to do if the
// resource cannot check tokens, is in docs/guarantees.md of the repository; TTLs, roles
// in etcd and run-books are in docs/operations.md.
//
// # Model
//
// A lock is a name. Each call of Lock is a separate acquisition with its own [Hold]:
// goroutines that share a [Mutex], or a session, exclude each other as processes
// do. An acquisition is a key under the name, attached to the session's lease; the
// oldest key by create revision owns the lock. Each waiter watches the key ahead of it, the
// first two up to the owner's, so a release wakes the next and nobody else.
//
// A hold lasts until it is unlocked or lost. [Hold.Context] is done when it ends;
// give it, or [Hold.With], to everything that needs the lock.
//
// There are four kinds, each with its own queue for a name:
//
//   - [Mutex]: one holder.
//   - [RWMutex]: many readers or one writer. A writer waits for everybody ahead of it, a
//     reader for the nearest writer ahead of it.
//   - [Semaphore]: holders share a number of permits. An acquisition waits until it and
//     those ahead of it fit.
//   - [Multi]: the mutexes of several names, all or none, without deadlock.
//
// A mutex takes options for special needs: [WithLocalHandoff] and [WithLinger] keep the
// lock within a process at the speed of memory, at the price of the order among
// processes; [WithLockDelay] protects resources that cannot check tokens;
// [WithEtcdLayout] shares the lock with the official library.
//
// # Guarantees
//
// They are stated in full, with their assumptions and their tests, in docs/guarantees.md of
// the repository. In short:
//
//   - S1: at every revision at most one entry owns a lock: the oldest.
//   - S2: tokens strictly increase from one exclusive grant of a name to the next.
//   - S3: no two holders are ever both before their [Hold.Deadline], while clock rates
//     differ by less than the session's allowance, no operator interferes, and no etcd
//     leader resumes after a stall and revokes leases early. With [WithLockDelay] of a TTL
//     or more, the last condition is only that no stall is longer than TTL and delay
//     together.
//   - S4: a transaction made by [Hold.Txn] never commits after the hold's key is gone.
//   - S5: a resource that checks tokens, as [Fence] does, never accepts an older
//     holder after a newer one.
//   - L: the first live waiter is granted within the TTL plus one second of the death of
//     the last holder or waiter ahead of it, and after an Unlock at once.
//
// # What is not guaranteed
//
// That two processes never run the critical section together. A process that is paused
// between a check and a write does not know it, whatever any lock service says; a
// write to something that checks neither a token nor a [Hold.Guard] is not stopped.
// Writes to etcd itself are safe with [Hold.Txn].
//
// # Permissions in transactions
//
// With conditions or an Else, [Hold.Txn] sends a nested transaction. Of the versions
// that were tried, etcd 3.4.23 and 3.5.13 do not check nested transactions against the
// user's permissions: with them, a user who may only write under "billing/" can write
// anything. 3.7.3 does check. Without conditions nothing is nested, and all three check.
//
// # Failures
//
//   - The holder crashes: its lease expires after the TTL, and the next is granted.
//   - The holder is cut off: its hold ends at the deadline, before the server can
//     expire the lease.
//   - An operator revokes the lease or deletes the holder's key: the hold ends
//     with [ErrLost] at the next look, and its transactions fail at once. The next in
//     the queue may be granted before that: operators overrule S3.
//   - A waiter's lease is lost or its key deleted: it queues again at the end.
//   - ctx ends while waiting: Lock returns at once and says which key it waited for; its
//     own key is removed in the background. If that fails, it is tried again with every
//     look, until the lease ends.
//   - A reply is lost: the request is repeated and recognises its own effect. If a
//     request arrives after everybody has given up on it, the next look undoes it.
//   - Compaction, loss of the leader, a member's restart: invisible; the place in the
//     queue is kept.
//   - The session's client is closed: holds are lost, Lock fails.
//
// # Cost
//
//	Lock, free             1 write
//	Lock, taken            1 write, 1 watch, at most 1 read
//	granted after waiting  nothing for the second and the third in the queue, else 1 read;
//	                       for a semaphore's waiter 1 read, and 1 write in the background
//	Unlock                 1 write
//	TryLock                1 round trip; nothing is stored when the lock is taken
//	Semaphore.TryAcquire   2 round trips, 1 when there is no room, 2 more each time that
//	                       others were faster
//	RWMutex.Downgrade      1 write
//	Hold.Txn               1 round trip
//	local hand-off         nothing; after the last, 1 write
//	lock delay             1 more write when granted after waiting; 1 more lease for each of
//	                       the session's, renewed with it
//
// A [Multi] costs the same as a Mutex, in larger requests, and one wait for each name
// that is taken.
//
// Locks of different names that one session asks for at the same time share requests, and so do
// their releases: while two of a kind are under way, what is asked for is gathered, up to 32, and
// goes out in one transaction when one of the two is answered. Nothing waits for more to come, and
// what is refused is taken apart, so that none fails because of another. A shared request has the
// context values of one of the calls: its span, say, or the metadata of that one. Shared are those
// of a Mutex, an RWMutex and an election, not attempts, a Semaphore's or a Multi's, those with a
// lock delay, and those in etcd's layout.
//
// If a crowd of waiters arrives at once in one process, 32 at a time are put into the
// queue, in their order, so that the holder's renewals get through.
//
// While a lock is held it costs nothing but the session's round, see package lease.
// Keys are reused, so lock and unlock cost the same after 100,000 of them. A
// session that holds more than a few hundred locks spreads them over several leases.
//
// The queue is that of the ZooKeeper lock recipe and of clientv3/concurrency, with which
// [WithEtcdLayout] is compatible; the readers' queue is that of the ZooKeeper shared
// lock.
package lock
