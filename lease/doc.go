// Package lease keeps etcd leases alive and says until when they can be trusted.
//
// # Use
//
//	session, err := lease.NewSession(ctx, client, lease.WithTTL(10*time.Second))
//	...
//	defer session.Close(ctx)
//	_, err = lease.Register(ctx, session, "services/api/1", "10.0.0.1:443")
//
// A process needs one session, which its locks, elections and registrations share. How
// to choose the TTL is in docs/operations.md of the repository.
//
// # Model
//
// A [Lease] is one etcd lease, renewed until it is closed or lost. A [Session] is
// a chain of them: after a loss the next use gets a new lease. Locks and elections
// depend on a session. [Register] keeps a key in place for as long as the process
// lives: service registration, presence, membership.
//
// # The deadline
//
// The server drops a lease one TTL after the last renewal it has seen, and lets
// the next client in. [Lease.Deadline] is never later than that moment: it is the
// time at which the last confirmed renewal was sent, plus the TTL the server
// answered with, less an allowance for the drift of the two clocks ([WithClockDrift]).
// A timer ends the lease at the deadline whatever the network does, so that in a
// partition the holder knows before its successor can be granted.
//
// A renewal counts only once it is confirmed. An etcd leader that has been deposed
// but does not know it yet still acknowledges renewals, for seconds. So each renewal
// is followed by a linearizable read, the look: if that read comes from a newer raft
// term than the acknowledgement, the lease is renewed again. The look reads the keys
// that the session's locks and registrations rely on. It therefore also notices a key
// deleted by an operator, or an event lost on a dead connection.
//
// # Guarantees
//
//   - While [Lease.Err] is nil, no other client holds what the lease protects, given
//     that the clocks' rates differ by no more than the allowance, that nobody
//     revokes the lease or deletes its keys by hand, and that no etcd leader resumes
//     after a stall longer than its election timeout (such a leader may revoke
//     leases early).
//   - A lease that has ended stays ended. A late reply to an earlier renewal does not
//     revive it.
//   - [Lease.Context] ends before the lease is revoked on the server.
//   - Time that the machine spends suspended counts (on Linux).
//
// # What is not guaranteed
//
// A process that is paused does not know that it is paused. Any amount of time may pass
// between a check of the deadline and the act that relies on it; only the resource
// itself can refuse a late write, see the fencing tokens of package lock. On platforms
// other than Linux, a suspension is noticed when the next renewal is refused. With
// etcd 3.4 and a role that may not read the key "conclave", the member list is asked for
// instead, which is not linearizable there: renewals of a lease that has not had a lock or a
// registration yet are not confirmed, and any lease is lost when a deposed leader says that it
// does not know it. That an operator has deleted a key is not noticed while the session's role
// may not read it; the deadline holds all the same.
//
// # Failures
//
//   - A reply is slow or lost, or a member hangs: after a tenth of the TTL (at least 250
//     ms, but with a short TTL at most a third of the time left) another attempt is made
//     alongside the first, over another stream that can reach another member. An answer
//     counts whenever it comes, with a deadline counted from when its own request was
//     sent: at a TTL of 10 s, a lease is kept at every round trip up to 3 s. When the last
//     confirmed renewal is too old, the lease is [Suspended], and then [Healthy] again
//     once a new one is confirmed.
//   - A member is cut off from its peers: it refuses at once, and another is asked.
//   - No renewal gets through until the deadline: the lease is [Lost], and revoked
//     as soon as the network allows, since a late renewal may have extended it.
//   - The server does not know the lease (revoked, expired): lost at once.
//   - The client is closed while the lease is in use: lost at once; the session is closed.
//   - Keys are deleted: registrations are put again within a third of a TTL.
//
// # Cost
//
// A grant is one write. A round takes place a third of the TTL after the last one: one
// keep-alive on a long-lived stream and one read, which compares up to 128 entries of locks and
// elections and reads up to 128 other keys, and one more for every 128 beyond. A lease has one goroutine; the leases of a client share one
// gRPC stream. A registration costs one write; after a loss, 64 are written at a time.
package lease
