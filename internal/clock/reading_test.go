package clock_test

import (
	"sync"
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
		now, ok := clock.At(mono, wall, counting, mono+c.mono, wall+c.wall)
		require.Equal(t, c.ok, ok, what)
		if ok {
			require.Equal(t, counting+c.mono, now, what)
		}
	}
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
