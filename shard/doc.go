// Package shard divides work among the members of a group. The work is a number of shards,
// such as partitions, tenants or queues. Each shard has at most one owner at a time, with a
// deadline and a fencing token, and is handed over when members come and go.
//
// # Use
//
//	session, err := lease.NewSession(ctx, client) // one for the process
//	...
//	member, err := shard.Join(ctx, session, "mailer", "pod-7", func(ctx context.Context, o *shard.Ownership) error {
//		return deliver(ctx, o.Shard(), o.Leaving()) // until it is told to leave, or ctx ends
//	}, shard.WithShards(1000), shard.WithValue("10.0.0.7:8080"))
//	...
//	defer member.Close(ctx) // hands everything over, and leaves
//
// To send something to a shard's owner, use a [Router]:
//
//	router, err := shard.NewRouter(ctx, client, "mailer")
//	...
//	route, owned := router.Owner(router.Of("tenant-42"))
//
// # Model
//
// A member is a key under its session's lease. One of the members, elected under the
// group's name, is the planner: it decides who should own each shard, with an [Assigner],
// and writes that down as the plan. A member asks for the shards that the plan gives it, as
// one asks for a lock: owning a shard means having a [lock.Hold] on the mutex
// "<group>/shard/<id>", and nothing else does. The plan decides who asks; the lock decides
// who owns. An old plan, a planner that does not know that it is deposed, or a member that
// is cut off can cost time, but never make two owners.
//
// If the newest plan gives a shard to another member, its owner keeps it until the other
// waits in the queue. Then [Ownership.Leaving] is closed, the function finishes and returns,
// and the next owns the shard one hand-over later. If the function has not returned within
// the drain time, see [WithDrainTimeout], the ownership ends like a loss. So no shard is
// without an owner because the next one is slow, or dead.
//
// The default plan, [Balanced], gives each member and each zone its share by weight, with as
// few moves as possible. [WithMoves] limits how many shards move at a time,
// [WithReturnGrace] keeps those of a member that is away for a moment, and [Move],
// [Cordon], [Evacuate] and [Freeze] are for operators. [Inspect] shows everything.
//
// A [Router] has the state of the locks, not only the plan: the actual owner, with its
// token, and the planned one. [Of] says which shard a key belongs to.
//
// # Guarantees
//
// S1 to S5 and L of docs/guarantees.md of the repository hold for each shard as they do for
// a mutex: it has one owner at every revision; tokens of its owners increase; no two are
// ever both before their deadlines; what [Ownership.Txn] writes never lands late. Beyond
// that:
//
//   - A member that drains, or loses a shard to a plan, hands it to one that already waits:
//     the queue is never empty, and the shard is without a holder for one hand-over.
//   - After a crash all shards are owned again within the TTL, the grace of
//     [WithReturnGrace] and a second, while etcd has a leader and planning is quick.
//   - As long as a live member can take them, the default plan leaves no shard without an
//     owner, and never gives a member more than its share rounded up, unless an
//     operator has pinned more to it, or it has to take a shard that is stuck in another
//     one's function. No plan with fewer moves does the same.
//   - Readers see a plan as a whole or not at all.
//
// # What it is not
//
// It moves no data: an owner loads what it needs when it begins, and has written it back
// when it leaves. It measures no load: that goes into weights and an [Assigner]. Like any
// lock, it does not keep a paused process from going on without knowing that it was paused;
// give the token, or [Ownership.Guard], to what you write to. A shard has one owner,
// not replicas. And the number of shards is fixed until all members have stopped.
//
// # Failures
//
//   - A member crashes: its leases expire, and the planner gives its shards to others, unless
//     a process waits for its name by then, which finds them where they were.
//   - It is cut off: its ownerships end at their deadlines, before anybody else owns. The
//     functions are called again when the plan says so and the member is able to. If another
//     process has joined under its name by then, and is alive, it ends with [ErrReplaced].
//   - The planner crashes or is cut off, even between two pieces of a plan: the last plan
//     stays in force and readable; the next planner is elected after at most a TTL.
//   - Nobody can reach etcd: all ownerships end at their deadlines. When etcd is
//     back, members again own what the plan says. A [Join] under way goes on with the session's
//     next lease, if its own has ended. If the client is closed, all calls end with an error.
//   - A reply is lost or late: writes of the plan are conditional on what they
//     replace, and so never take effect late; locks and registrations recover by themselves.
//   - A plan is not written, whole or in part: what has been is kept, and the rest is tried
//     again, after 200 ms, and at the most 5 s if nothing gets through.
//   - A function returns too early, panics, or ends its goroutine: the shard is released, and
//     asked for again after a pause.
//   - A function does not return within the drain time, or within a second after its shard was
//     lost: that is logged, [Inspect] shows it, and the planner gives the shard to another
//     member until the function has returned, also beyond that one's share.
//   - An assigner fails, panics, ends its goroutine, returns nonsense or does not return within
//     5 seconds: all keep what they have, shards without an owner are spread evenly, and the log
//     and the observer say so. One that hangs is not called again before it has returned.
//   - An operator deletes keys: that of a member is put again within a third of the TTL; an
//     ownership whose key is deleted is lost and asked for again; if keys of the plan are
//     deleted, the planner makes another plan, and until then members follow the last one.
//   - History is compacted: nobody notices.
//   - The store is restored from a backup: what that brings back of processes that are gone ends
//     with their leases, after a TTL. Members register again, and a [Router] takes over what is.
//
// # Cost
//
//	Join                    3 writes, and 1 read of the plan; if the name is taken, 2 writes
//	                        and 1 read more, and 2 requests each 200 ms until it is free
//	a shard that moves      2 writes, 1 watch, at most 1 read; a member that has some to give
//	                        away has 1 watch, and reads their queues now and then, 128 at once
//	a plan                  1 write per 64 KiB that has changed since the plan before the last:
//	                        for 1,000 shards it has 4 kB
//	at rest                 what a hold costs, see docs/capacity.md, and the goroutine that
//	                        the function runs on; no requests but the session's
//	the planner             a copy of the group's keys in memory
//	a Router                the same
//
// Shards are asked for 16 at a time, in one request: a thousand free ones take a few dozen
// round trips. A member hands over shards one at a time, or up to sixteen if the server is
// far away, so that each is without an owner for little more than a hand-over, while the
// others are served until it is their turn. Limits are [MaxShards] and [MaxMembers].
//
// The idea of a planner with a pure function, and owners with leases, is that of Slicer
// (Adya et al., OSDI 2016) and Shard Manager (Lee et al., SOSP 2021).
package shard
