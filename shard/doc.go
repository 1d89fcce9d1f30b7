// Package shard divides work among the members of a group: a number of shards, such as
// partitions, tenants or queues, each with at most one owner at a time, who has a deadline
// and a fencing token, and hands it over when members come and go.
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
// Who has something to send to a shard's owner has a [Router]:
//
//	router, err := shard.NewRouter(ctx, client, "mailer")
//	...
//	route, owned := router.Owner(router.Of("tenant-42"))
//
// # Model
//
// A member is a key under its session's lease. One of the members, elected under the
// group's name, is the planner: it decides whose each shard is to be, by an [Assigner], and
// writes that as the plan. A shard that is a member's by plan it asks for, as a lock is
// asked for: owning a shard is a [lock.Hold] on the mutex "<group>/shard/<id>", and nothing
// else is. The plan decides who asks; the lock decides who owns. A plan that is old, a
// planner that does not know that it is deposed, a member that is cut off: they can cost
// time, never make two owners.
//
// A shard that is another's by the newest plan is kept until that one waits in the queue.
// Then [Ownership.Leaving] is closed, the function finishes and returns, and the next owns
// one hand-over later. If it has not returned within the drain time, see
// [WithDrainTimeout], the ownership ends like a loss. So nobody is without an owner
// because the next is slow, or dead.
//
// The default plan, [Balanced], gives each member and each zone its share by weight, with as
// few moves as there can be. [WithMoves] bounds how many shards are on their way at a time,
// [WithReturnGrace] keeps those of a member that is away for a moment, and [Move],
// [Cordon], [Evacuate] and [Freeze] are for people. [Inspect] shows it all.
//
// A [Router] has the state of the locks, not only the plan: the owner as it is, with its
// token, and whose the shard is to be. [Of] says which shard a key belongs to.
//
// # Guarantees
//
// S1 to S5 and L of docs/guarantees.md of the repository hold for each shard as they do for
// a mutex: it has one owner at every revision; tokens of its owners increase; no two are
// ever before their deadlines; what [Ownership.Txn] writes never comes late. Beyond that:
//
//   - Who drains, or loses a shard to a plan, gives it to somebody who already waits: no
//     moment without an entry in the queue, one hand-over without a holder.
//   - After a crash all shards are owned again within the TTL, the grace of
//     [WithReturnGrace] and a second, while etcd has a leader and planning takes little.
//   - While a member lives that can have them, no shard stays without an owner in the
//     default plan, and what a member has never exceeds its share rounded up, unless a
//     person has pinned more to it. No plan with fewer moves does the same.
//   - Readers see a plan as a whole or not at all.
//
// # What it is not
//
// It moves no data: what an owner needs it loads when it begins, and has written when it
// leaves. It measures no load: weights and an [Assigner] are where that goes in. It does not
// keep a paused process from going on without knowing that it is paused, as no lock does;
// give the token, or [Ownership.Guard], to what you write to. It has one owner for a shard,
// not replicas. And the number of shards is for good, until all members have stopped.
//
// # Failures
//
//   - A member crashes: its leases expire, and the planner gives its shards to others.
//   - It is cut off: its ownerships end at their deadlines, before anybody else owns. The
//     functions are called again when the plan says so and the member can.
//   - The planner crashes or is cut off, also between two pieces of a plan: the last plan
//     stays in force and readable; the next planner is elected after a TTL at the most.
//   - etcd cannot be reached by anybody: all ownerships end at their deadlines. When it is
//     back, members own again what the plan says.
//   - A reply is lost, an answer is late: writes of the plan are conditional on what they
//     replace, and so never take effect late; locks and registrations mend themselves.
//   - A function returns too early or panics: the shard is released, and asked for again
//     after a pause. One that never returns is logged, and its shard given away.
//   - An assigner fails, panics or returns nonsense: all keep what they have, what has no
//     owner is spread evenly, and the log and the observer say so.
//   - An operator deletes keys: of a member, it is put again within a third of the TTL; of
//     an ownership, it is lost and asked for again; of the plan, the planner makes another,
//     and until then members do what the last one said.
//   - History is compacted: nobody notices.
//
// # Cost
//
//	Join                    3 writes, and 1 read of the plan
//	a shard that moves      2 writes, 1 watch, at most 1 read; a member that has some to give
//	                        away has 1 watch, and reads their queues now and then, 128 at once
//	a plan                  1 write for 64 KiB: of 1,000 shards it has 4 kB
//	at rest                 what a hold costs, see docs/capacity.md, and the goroutine that
//	                        the function runs on; no request but the session's
//	the planner             a copy of the group's keys in memory
//	a Router                the same
//
// Shards are asked for 16 at a time, in one request: a thousand that are free take a few dozen
// round trips. Those that are to move a member hands over two at a time, up to
// sixteen where the server is far, so that each is without an owner for little more than a
// hand-over, while the others are served until it is their turn. Limits are [MaxShards] and [MaxMembers].
//
// The idea of a planner with a pure function, and owners with leases, is that of Slicer
// (Adya et al., OSDI 2016) and Shard Manager (Lee et al., SOSP 2021).
package shard
