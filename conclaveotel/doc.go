// Package conclaveotel makes OpenTelemetry spans for what Conclave does.
//
//	tracer, err := conclaveotel.New()
//	session, err := lease.NewSession(ctx, client, lease.WithObserver(tracer.Lease()))
//
// # Spans
//
//   - conclave.Lock, for every call that takes a lock, TryLock, RLock, Acquire and
//     Downgrade included, and conclave.Campaign: from the call to its return. The
//     events conclave.waiting and conclave.waited mark the time it waits for another.
//   - conclave.Unlock and conclave.Resign: from the end of the hold in this process until
//     etcd has confirmed the release. A Transfer is a conclave.Resign.
//
// They are children of the span in the caller's context, and parents of those that an
// instrumented etcd client makes for the requests. But with local hand-off, the requests
// to get a lock are made for all waiters of the process, and belong to no span; and a request
// that locks of several names share (see package lock) belongs to that of one. Work done
// with a hold's context is a child of the caller's span, as without this package. A lost
// hold adds the event conclave.lost to that span, if it has not ended.
//
// # Links
//
// A conclave.Lock or conclave.Campaign that waited links to the span of the holder it
// followed, and a conclave.Unlock to the conclave.Lock of its hold, if that was in this
// process: for locks on one [Tracer], of any session, among those held and the last 1,024
// released.
//
// Between processes there are no such links. A holder's entry in etcd does not name
// its span, and a waiter reads only keys. But the attributes help: a
// follower's conclave.lock.predecessor.key and .revision are the
// conclave.lock.key and .revision of the holder it followed, so a search in the tracing
// backend finds it.
//
// # Attributes
//
// Attributes of spans begin with conclave.lock: kind, name, key, revision, sequence, via
// (free, queue, handoff or linger), predecessor.key and predecessor.revision.
// error.type is the kind of failure, as in lease.Reason. A TryLock that finds the lock
// taken has it too, but no error status.
package conclaveotel
