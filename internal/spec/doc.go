// Package spec is what an entry of a queue, and a lease, may do: an executable
// specification, which real runs are checked against.
//
// A [Run] is fed with what some processes send and receive, message by message and in one
// order, with what their sessions tell an observer, and with the store's own history. It
// follows each entry through the states that package queue has for it, reserved, pending,
// waiting, owner, removing, unsettled and gone, but takes them from the messages alone,
// not from the code under test. [Run.Check] then says at which step the run left the
// specification:
//
//   - A key is put again only when the entry before it is gone: its deletion is confirmed,
//     or it was found missing at a revision not older than itself, and no put without an
//     answer can bring it back.
//   - An entry is taken for one's own only if it is what was put.
//   - A transaction puts entries of one lease, each into a queue of its own.
//   - A condition on an entry names its revision (or, while that is not known, its value), and
//     so does what deletes it.
//   - An entry is deleted by its process only after the hold has ended there.
//   - A grant is justified: by an answer, of a revision at which the entry was there, that
//     shows nobody in its way; and the store's history says the same of that revision.
//   - An entry is given up as deleted only after an answer, of a revision not older than it,
//     that shows it missing.
//   - One entry has one hold at a time.
//   - The deadline of a lease is no later than what the messages justify: the sending of
//     a renewal plus the TTL of its answer less the allowance, once something that a quorum has answered
//     after it was of no later term. Nothing is granted after it.
//
// What it does not know: which requests a caller made on its own account; the reads of
// marks that a lock delay leaves; whether a look finds each key in doubt in time.
package spec
