package clock_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/clock"
)

func TestAClockThatRunsAtAnotherRateIsWrongByThatAndNeverJumps(t *testing.T) {
	// Not parallel: the clock is the process's.
	t.Cleanup(clock.Virtual())
	t.Cleanup(clock.RightAgain)
	require.InDelta(t, 1, clock.Rate(), 0)
	bubble.Test(t, func(t *testing.T) {
		shown := clock.Now()
		for _, rate := range []float64{0.5, 2, 1} {
			before := clock.Now()
			require.Equal(t, shown, before)
			clock.SetRate(rate)
			require.InDelta(t, rate, clock.Rate(), 0)
			require.Equal(t, before, clock.Now(), "it does not jump")
			due := make(chan time.Time, 1)
			start := time.Now()
			clock.AfterFunc(before.Add(10*time.Second), func() { due <- time.Now() })
			took := (<-due).Sub(start)
			require.Equal(t, time.Duration(10/rate*float64(time.Second)), took)
			shown = before.Add(10 * time.Second)
		}
	})
}
