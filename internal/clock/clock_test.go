package clock_test

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/clock"
)

func TestNowNeverRunsBackwards(t *testing.T) {
	t.Parallel()
	last := clock.Now()
	for range 10_000 {
		now := clock.Now()
		require.GreaterOrEqual(t, now, last)
		last = now
	}
}

func TestNowRunsAtTheRateOfRealTime(t *testing.T) {
	t.Parallel()
	real0, i0 := time.Now(), clock.Now()
	<-time.After(50 * time.Millisecond)
	i1, real1 := clock.Now(), time.Now()
	// Read inside the two real readings, so at most as long; the time between adjacent readings is all it may lack.
	require.LessOrEqual(t, i1.Sub(i0), real1.Sub(real0)+time.Millisecond)
	require.GreaterOrEqual(t, i1.Sub(i0), 49*time.Millisecond)
}

func TestInstantArithmeticIsExactAndSaturates(t *testing.T) {
	t.Parallel()
	i := clock.Instant(1_000)
	require.Equal(t, clock.Instant(1_500), i.Add(500))
	require.Equal(t, clock.Instant(-1_000), i.Add(-2_000))
	require.Equal(t, 500*time.Nanosecond, i.Add(500).Sub(i))
	require.Equal(t, -500*time.Nanosecond, i.Sub(i.Add(500)))

	require.Equal(t, clock.Instant(math.MaxInt64), i.Add(math.MaxInt64))
	require.Equal(t, clock.Instant(math.MinInt64), clock.Instant(-1_000).Add(math.MinInt64))
	require.Equal(t, time.Duration(math.MaxInt64), clock.Instant(math.MaxInt64).Sub(-1))
	require.Equal(t, time.Duration(math.MinInt64), clock.Instant(math.MinInt64).Sub(1))
}

func TestUntilCountsDownToTheInstantAndBeyond(t *testing.T) {
	t.Parallel()
	t.Cleanup(clock.Virtual())
	bubble.Test(t, func(*testing.T) {
		at := clock.Now().Add(time.Minute)
		require.Equal(t, time.Minute, clock.Until(at))
		<-time.After(90 * time.Second)
		require.Equal(t, -30*time.Second, clock.Until(at))
	})
}

func TestABubbleInVirtualModeFollowsVirtualTimeExactly(t *testing.T) {
	t.Parallel()
	t.Cleanup(clock.Virtual())
	bubble.Test(t, func(*testing.T) {
		i := clock.Now()
		<-time.After(1000 * time.Hour)
		require.Equal(t, 1000*time.Hour, clock.Now().Sub(i))
	})
}

func TestOutsideBubblesVirtualModeChangesNothing(t *testing.T) {
	t.Parallel()
	before := clock.Now()
	restore := clock.Virtual()
	during := clock.Now()
	restore()
	after := clock.Now()
	// Another source would have another epoch: boot, process start and 2000-01-01 lie far more than a minute apart.
	require.GreaterOrEqual(t, during, before)
	require.GreaterOrEqual(t, after, during)
	require.Less(t, after.Sub(before), time.Minute)
}

func TestReadingsOutsideStayRealWhileBubblesRun(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	var outside sync.WaitGroup
	for range 2 {
		outside.Go(func() {
			last := clock.Now()
			for {
				select {
				case <-stop:
					return
				default:
				}
				now := clock.Now()
				if now < last || now.Sub(last) > time.Minute {
					t.Errorf("real reading jumped by %v", now.Sub(last))
					return
				}
				last = now
			}
		})
	}
	for range 20 {
		t.Cleanup(clock.Virtual())
		bubble.Test(t, func(*testing.T) {
			i := clock.Now()
			<-time.After(time.Hour)
			require.Equal(t, time.Hour, clock.Now().Sub(i))
		})
	}
	close(stop)
	outside.Wait()
}

func TestVirtualModeEndsWithTheLastOfItsUsers(t *testing.T) {
	// Not parallel: other tests would keep virtual mode on.
	first, second := clock.Virtual(), clock.Virtual()
	first()
	first() // counts once
	bubble.Test(t, func(t *testing.T) {
		i := clock.Now()
		<-time.After(time.Hour)
		require.Equal(t, time.Hour, clock.Now().Sub(i))
	})
	second()
	if !countsSuspension {
		return // time.Now is virtual in a bubble in any mode
	}
	bubble.Test(t, func(t *testing.T) {
		i := clock.Now()
		<-time.After(time.Hour)
		require.Less(t, clock.Now().Sub(i), time.Minute, "virtual mode is still on")
	})
}

func BenchmarkNow(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = clock.Now()
	}
}
