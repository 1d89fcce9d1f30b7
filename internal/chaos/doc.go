// Package chaos puts locks under faults, as processes on this machine, and says whether
// they kept what they promise.
//
// # The lab
//
// A [System] is a lock of some kind with what it promises. A [Scenario] is a script of
// faults. [Run] lets every system of a scenario go through the same faults: three worker
// processes for each lock, on an etcd cluster of three member processes or on Redis
// servers, with a proxy between each worker and each server, and a resource process with
// the registers that the lock is to protect. What everybody reports goes into one
// history, see package history, and what the checkers find there is judged by what the
// system promises under these faults: [Held], [BrokenExpected], [Broken], or [Skipped]
// where something is missing.
//
// # Schedules
//
// A script draws its steps from a seed. The [Schedule] that a run has used can be written
// to a file and run again. The steps are then the same, not the microsecond: processes
// are scheduled by the machine.
//
// # Controls
//
// A lab that finds nothing may be one that cannot. So it also runs locks whose breaks are
// known, and fails when it does not catch them: see [Controls].
//
// # Adding to it
//
// See docs/chaos.md.
package chaos
