package compare_test

import (
	"slices"
	"testing"
	"time"
)

// pause lets what a library goes on doing after it has returned end before the next one's
// turn.
const pause = 3 * time.Millisecond

// turns runs the functions in turn, none always the first, and returns what each of them
// measured, in the order of the functions.
func turns(b *testing.B, fns ...func() []time.Duration) [][]time.Duration {
	b.Helper()
	took := make([][]time.Duration, len(fns))
	for _, fn := range fns { // warm up
		fn()
	}
	for n := 0; b.Loop(); n++ {
		for j := range fns {
			i := (n + j) % len(fns)
			<-time.After(pause)
			took[i] = append(took[i], fns[i]()...)
		}
	}
	b.ReportMetric(0, "ns/op")
	return took
}

// percentile returns the p-th percentile, or zero of nothing.
func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

func median(all []time.Duration) time.Duration { return percentile(all, 50) }

// times returns how often y is in x.
func times(x, y time.Duration) float64 { return float64(x) / float64(y) }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
