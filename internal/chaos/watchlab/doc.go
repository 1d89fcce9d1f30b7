// Package watchlab puts streams, caches and reconcilers of package watch under faults, and
// compares all that they deliver with the store's own history.
//
// # A bout
//
// [Play] plays a bout: a cluster of one or three members, clients with a network of their
// own each, and on them streams, caches with who waits for revisions, follows changes and
// reconciles, and watches of clientv3's that have nothing to do with them. Writers change
// keys while faults come. After each round, and before the first, everybody has to come to
// the present revision, and what was delivered is compared. At the end all leave, perhaps
// in the middle of a fault, and nothing of them may be left, at the members neither.
//
// Who is there, what is written and which faults come is a [Plan], a function of a seed.
// A seed repeats the choices, not the microsecond.
//
// # The truth
//
// The history is read within this process, from a member's own store, so that neither
// clientv3 nor a connection is on the way, and before it is compacted. When its member is
// about to be stopped another is read.
//
// # What is checked
//
// Each [Check] has a name. No check depends on how long something takes, but [Stuck],
// whose patience is counted in beats, so that a busy machine gets more of it.
//
// # Whether it finds anything
//
// Planted faults are edits of package watch, each of which a short run has to find:
// see planted_test.go and docs/chaos.md.
package watchlab
