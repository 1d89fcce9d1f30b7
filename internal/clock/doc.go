// Package clock reads a clock that keeps counting while the system is suspended.
//
// A lease runs out on its server while this machine sleeps, so its deadline must be measured with a clock that does not
// stop. Go's monotonic clock does stop (golang.org/issue/24595), and the wall clock can be set. On Linux this package
// reads CLOCK_BOOTTIME, which counts suspension and is never set. Where there is no such clock, or the kernel
// refuses it, it falls back to the monotonic reading of [time.Now]: correct as long as nothing is suspended.
//
// # Virtual time
//
// In a testing/synctest bubble only [time.Now] and Go's timers are virtual; a system call still reads the machine.
// [Virtual] makes this package follow virtual time, and decides goroutine by goroutine: while it is in force, a
// goroutine whose [time.Now] lies before 2020 is taken to run in a bubble (a bubble starts at 2000-01-01 UTC and has
// twenty virtual years until then) and reads [time.Now], every other goroutine keeps the counting clock. So
// tests in real time may run beside it in the same process. An [Instant] never crosses the border of a bubble, as no
// timer or channel of a bubble may; compared with one from outside it means nothing. Where Virtual is not in
// force, as in every production program, the wall clock has no influence, even if it says 1970.
//
// # Cost
//
// [Now] costs a system call on Linux, about 0.2 µs on hardware and more in virtual machines, when it has not been called
// for a millisecond, and else a fraction of that: a reading is used again, advanced by Go's monotonic clock, while the
// wall clock shows that nothing was suspended in between. Readings of several goroutines agree within 10 µs. An armed
// [Timer] wakes up once a second on Linux.
package clock
