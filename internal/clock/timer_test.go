package clock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/clock"
)

func TestATimerFiresExactlyAtItsInstantInVirtualTime(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{-time.Second, 0, time.Nanosecond, 999 * time.Millisecond, time.Second, time.Hour + 1} {
		t.Cleanup(clock.Virtual())
		bubble.Test(t, func(t *testing.T) {
			start := clock.Now()
			fired := make(chan clock.Instant, 1)
			clock.AfterFunc(start.Add(d), func() { fired <- clock.Now() })
			require.Equal(t, max(d, 0), (<-fired).Sub(start))
		})
	}
}

func TestATimerInRealTimeIsNeverEarlyAndHardlyLate(t *testing.T) {
	t.Parallel()
	// The long one outlives the interval after which a timer is compared with the counting clock.
	for _, d := range []time.Duration{0, time.Millisecond, 1300 * time.Millisecond} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			at := clock.Now().Add(d)
			fired := make(chan clock.Instant, 1)
			clock.AfterFunc(at, func() { fired <- clock.Now() })
			late := (<-fired).Sub(at)
			require.GreaterOrEqual(t, late, time.Duration(0))
			require.Less(t, late, 5*time.Second, "hang guard")
		})
	}
}

func TestAStoppedTimerDoesNotFire(t *testing.T) {
	t.Parallel()
	t.Cleanup(clock.Virtual())
	bubble.Test(t, func(t *testing.T) {
		fired := 0
		timer := clock.AfterFunc(clock.Now().Add(time.Minute), func() { fired++ })
		require.True(t, timer.Stop())
		require.False(t, timer.Stop(), "it was stopped before")
		<-time.After(time.Hour)
		require.Zero(t, fired)
	})
}

func TestStopReportsThatTheTimerHasFired(t *testing.T) {
	t.Parallel()
	t.Cleanup(clock.Virtual())
	bubble.Test(t, func(t *testing.T) {
		timer := clock.AfterFunc(clock.Now().Add(time.Minute), func() {})
		<-time.After(time.Hour)
		synctest.Wait()
		require.False(t, timer.Stop())
	})
}

func TestResetMovesATimerEitherWayAndRevivesIt(t *testing.T) {
	t.Parallel()
	t.Cleanup(clock.Virtual())
	bubble.Test(t, func(t *testing.T) {
		start := clock.Now()
		fired := make(chan time.Duration, 10)
		timer := clock.AfterFunc(start.Add(time.Minute), func() { fired <- clock.Now().Sub(start) })

		timer.Reset(start.Add(2 * time.Minute))
		require.Equal(t, 2*time.Minute, <-fired, "later")

		timer.Reset(start.Add(time.Hour))
		timer.Reset(start.Add(3 * time.Minute))
		require.Equal(t, 3*time.Minute, <-fired, "revived, and earlier than asked first")

		timer.Reset(start.Add(4 * time.Minute))
		timer.Stop()
		timer.Reset(start.Add(5 * time.Minute))
		require.Equal(t, 5*time.Minute, <-fired, "revived after Stop")

		timer.Reset(start)
		require.Equal(t, 5*time.Minute, <-fired, "at once when the instant has passed")

		<-time.After(time.Hour)
		require.Empty(t, fired, "once per Reset")
	})
}

func TestATimerCanBeResetByItsOwnFunction(t *testing.T) {
	t.Parallel()
	t.Cleanup(clock.Virtual())
	bubble.Test(t, func(t *testing.T) {
		start := clock.Now()
		fired := make(chan time.Duration)
		var timer *clock.Timer
		ready := make(chan struct{})
		timer = clock.AfterFunc(start.Add(time.Second), func() {
			<-ready
			timer.Reset(clock.Now().Add(time.Second))
			fired <- clock.Now().Sub(start)
		})
		close(ready)
		for i := range 3 {
			require.Equal(t, time.Duration(i+1)*time.Second, <-fired)
		}
		timer.Stop()
	})
}

func TestConcurrentResetsAndStopsFireAtMostOncePerReset(t *testing.T) {
	t.Parallel()
	t.Cleanup(clock.Virtual())
	bubble.Test(t, func(t *testing.T) {
		const resets = 1000
		fired := make(chan struct{}, resets+1)
		timer := clock.AfterFunc(clock.Now(), func() { fired <- struct{}{} })
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range resets {
				timer.Stop()
			}
		}()
		for range resets {
			timer.Reset(clock.Now())
		}
		<-done
		timer.Stop()
		<-time.After(time.Hour)
		require.LessOrEqual(t, len(fired), resets+1)
	})
}
