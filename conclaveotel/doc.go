// Package conclaveotel makes OpenTelemetry spans of what Conclave does.
//
//	tracer, err := conclaveotel.New()
//	session, err := lease.NewSession(ctx, client, lease.WithObserver(tracer.Lease()))
//
// # Spans
//
//   - conclave.Lock, for every call that takes a lock, TryLock, RLock, Acquire and
//     Downgrade included, and conclave.Campaign: from the call to its return. While it
//     waits for another, that is in the events conclave.waiting and conclave.waited.
//   - conclave.Unlock and conclave.Resign: from the end of the hold in this process until
//     etcd has confirmed that it is given up. A Transfer is a conclave.Resign.
//
// They are children of the span in the caller's context, and parents of those that an
// instrumented etcd client makes of the requests; but with local hand-off the requests to
// get a lock are made for all who wait in the process, and are nobody's. Work done with a hold's context is the
// child of the caller's span, as without this package. A hold that is lost adds the
// event conclave.lost to that span, if it has not ended.
//
// # Links
//
// A conclave.Lock or conclave.Campaign that waited links to that of the holder it
// followed, and a conclave.Unlock to the conclave.Lock of its hold, if that was in this
// process: locks on one [Tracer], of any session, among those held and the last 1,024
// released.
//
// Between processes there are no such links. What a holder has in etcd does not say what
// its span is, and a waiter never reads more than keys. But the attributes tell: a
// follower's conclave.lock.predecessor.key and .revision are the
// conclave.lock.key and .revision of the holder it followed, so a search in the tracing
// backend finds it.
//
// # Attributes
//
// Those of spans begin with conclave.lock: kind, name, key, revision, sequence, via
// (free, queue, handoff or linger), predecessor.key and predecessor.revision.
// error.type is the kind of reason of what failed, as in lease.Reason. A TryLock that
// finds the lock taken has it, too, and no error status.
package conclaveotel
