package clock_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/clock"
)

func TestAReadingIsUsedAgainForAMomentUnlessAClockHasJumped(t *testing.T) {
	t.Parallel()
	const mono, wall, counting = 5_000_000_000, 1_700_000_000_000_000_000, 9_000_000_000
	const us, ms = clock.Instant(time.Microsecond), clock.Instant(time.Millisecond)
	for what, c := range map[string]struct {
		mono, wall clock.Instant // since the reading
		ok         bool
	}{
		"at once":                              {0, 0, true},
		"within a millisecond":                 {300 * us, 300 * us, true},
		"a millisecond later":                  {ms, ms, true},
		"later":                                {ms + 1, ms + 1, false},
		"before it":                            {-1, -1, false},
		"the wall clock is slewed":             {500 * us, 505 * us, true},
		"the system slept in between":          {300 * us, 300*us + clock.Instant(time.Hour), false},
		"the system slept for a tenth of a ms": {300 * us, 400 * us, false},
		"the wall clock was set back":          {300 * us, -100 * us, false},
	} {
		read := clock.ReadingAt(mono, wall, counting)
		require.Equal(t, c.ok, read.Serves(mono+c.mono, wall+c.wall), what)
	}
}

func TestAReadingNeverTurnsTheClockBack(t *testing.T) {
	t.Parallel()
	const mono, wall, counting = 5_000_000_000, 1_700_000_000_000_000_000, 9_000_000_000
	const us, s = clock.Instant(time.Microsecond), clock.Instant(time.Second)
	first := clock.ReadingAt(mono, wall, counting)
	require.Equal(t, clock.Instant(counting-mono), first.Lead())

	slower := first.Next(counting+s, mono+s-us, mono+s+3*us, wall+s)
	require.Equal(t, first.Lead(), slower.Lead(), "a slow reading shows too small a lead")
	require.True(t, slower.Serves(mono+s+4*us, wall+s+us))

	paused := slower.Next(counting+2*s, mono+2*s, mono+22*s, wall+22*s)
	require.Equal(t, first.Lead(), paused.Lead())
	require.False(t, paused.Serves(mono+22*s, wall+22*s), "the process was paused while it read")

	slept := paused.Next(counting+3600*s, mono+23*s, mono+23*s, wall+3600*s)
	require.Equal(t, counting+3600*s-mono-23*s, slept.Lead())

	late := paused.Next(counting+7200*s, mono+24*s, mono+25*s, wall+7201*s)
	require.Equal(t, counting+7200*s-mono-25*s, late.Lead(), "also what is not used again is a lower bound")
}

func TestNowNeverRunsBackWhicheverGoroutineAsks(t *testing.T) {
	t.Parallel()
	var last atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100_000 {
				before := clock.Instant(last.Load())
				now := clock.Now()
				if now < before {
					t.Errorf("%d was told after %d", now, before)
					return
				}
				last.Store(int64(now))
			}
		})
	}
	all.Wait()
}

func TestNowAgreesWithTheCountingClock(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20_000 {
				before := clock.ReadCounting()
				now := clock.Now()
				after := clock.ReadCounting()
				if now < before-clock.Instant(10*time.Microsecond) || now > after {
					t.Errorf("%d is not between %d and %d", now, before, after)
				}
			}
		})
	}
	all.Wait()
}
