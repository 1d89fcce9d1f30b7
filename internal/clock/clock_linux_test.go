package clock_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/conclave-go/conclave/internal/clock"
)

const countsSuspension = true

func TestNowReadsTheClockThatCountsSuspension(t *testing.T) {
	t.Parallel()
	boottime := func() clock.Instant {
		var ts unix.Timespec
		require.NoError(t, unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts))
		return clock.Instant(ts.Nano())
	}
	before := boottime()
	now := clock.Now()
	require.GreaterOrEqual(t, now, before)
	require.LessOrEqual(t, now, boottime())
}
