package election

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// backoff is how long a candidate stays out of the election after failures of lead.
type backoff struct{ first, most time.Duration }

// after returns the pause after a failed term that took so long, given the pause that
// was made before it.
func (b backoff) after(previous, took time.Duration) time.Duration {
	if previous == 0 || took > b.most {
		return b.first
	}
	return min(2*previous, b.most)
}

// jittered returns d, give or take a quarter, so that candidates that fail for one
// reason do not come back in step.
func jittered(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)/2*float64(d))
}

// limit is how many terms may begin within a period; the zero limit is none.
type limit struct {
	terms int
	per   time.Duration
}

// won adds a term to those before it, of which it keeps as many as it has to know.
func (l limit) won(terms []time.Time, now time.Time) []time.Time {
	terms = append(terms, now)
	return slices.Clone(terms[max(0, len(terms)-l.terms):])
}

// next returns when the next term may begin, given the last ones.
func (l limit) next(terms []time.Time) time.Time {
	if l.terms == 0 || len(terms) < l.terms {
		return time.Time{}
	}
	return terms[0].Add(l.per)
}

// waitUntil waits until the time given, and reports whether ctx is still going.
func waitUntil(ctx context.Context, at time.Time) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
