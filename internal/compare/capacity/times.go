package capacity

import (
	"slices"
	"time"
)

// mean returns the arithmetic mean, 0 of nothing.
func mean(took []time.Duration) time.Duration {
	if len(took) == 0 {
		return 0
	}
	var sum time.Duration
	for _, t := range took {
		sum += t
	}
	return sum / time.Duration(len(took))
}

// percentile returns the smallest of the times that p percent of them do not exceed, 0 of
// nothing.
func percentile(took []time.Duration, p int) time.Duration {
	if len(took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(took))
	const all = 100
	rank := (len(sorted)*p + all - 1) / all // rounded up
	return sorted[max(rank, 1)-1]
}
