package redlock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/clock"
	"github.com/conclave-go/conclave/internal/redistest"
)

// The clock by which a hold ends runs on while the system is suspended, and Go's timers do not.
// Here it runs faster than they do.
func TestRenewalsComeInTimeByTheClockThatEndsTheHold(t *testing.T) {
	// Not parallel: the clock is the process's.
	t.Cleanup(clock.RightAgain)
	const rate = 5
	inBubble(t, 3, func(t *testing.T, v *redistest.Virtual) {
		clock.SetRate(rate)
		h := lockVirtual(t, virtualNodes(t, v, 3))
		for range 10 {
			<-time.After(ttl / rate)
			synctest.Wait()
			require.NoError(t, h.Err())
		}
		require.NoError(t, h.Unlock(t.Context()))
	})
}
