// Package worker is one who takes a lock again and again, works under it on a register of
// a resource, and reports every step. A [Worker] runs as a process of its own ([Main]),
// or, in tests, in virtual time.
//
// # The critical section
//
// Under the lock a worker reads the register and later writes it, one higher, in four
// ways, each on a register of its own:
//
//   - unguarded: it trusts the lock and writes;
//   - by deadline: it looks at the hold and its deadline between the read and the write,
//     and does not write if that is over;
//   - fenced: the resource gets the token with the read and the write, and refuses older
//     ones than it has seen;
//   - by a transaction of etcd, with the condition that the hold's entry is still there.
//
// In between are the points of a [Gate], where a worker that was asked to waits, so that
// a fault hits it there for certain: "stay" (it has read), "before" (the look at the
// hold) and "between" (that and the write).
package worker
