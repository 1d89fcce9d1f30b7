// Package history is what happened to one lock, and what follows from it.
//
// A [Log] takes [Event]s from workers, from the resource they write to, from the
// operator's watch and from who injects faults, each with a time that all of these
// share. [Holds] makes acquisitions of them, and [Check] finds where they are not those
// of a lock:
//
//   - by a sweep over time: two holders before their deadlines (S3), a hold that said it
//     was valid after its own, tokens that do not increase in the order of grants (S2);
//   - in etcd's own history of the lock's keys, revision by revision: a guarded write of
//     somebody whose entry was not there, or not the oldest (S1, S4);
//   - by looking for an order of operations in which a sequential lock with expiry could
//     have done the same, with porcupine;
//   - in what the resource accepted: an older token after a newer one (S5), updates
//     that were lost;
//   - in time: how long after the death of a holder the next was granted (L).
//
// A break of S3 needs no precision of clocks between machines, because there is one. A
// deadline is recorded too early rather than too late, by what the recording takes, so
// that what is found is no artefact.
package history
