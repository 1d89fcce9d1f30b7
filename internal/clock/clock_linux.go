package clock

import "golang.org/x/sys/unix"

// suspensionCounts says which source this process reads. It is decided once, because instants of two sources must
// never meet.
//
//nolint:gochecknoglobals // a property of the machine, never written again
var suspensionCounts = func() bool {
	var ts unix.Timespec
	return unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) == nil
}()

// readCounting reads CLOCK_BOOTTIME. The call was seen to work when the process started, and with valid arguments it has
// no other way to fail; a zero reading would extend deadlines silently, so a failure is a panic.
func readCounting() Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("clock: CLOCK_BOOTTIME, readable before, no longer is: " + err.Error())
	}
	return Instant(ts.Nano())
}
