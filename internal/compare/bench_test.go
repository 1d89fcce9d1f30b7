package compare_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/works/redislocks"
	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

// Every benchmark lets the libraries take turns on the same redis-server processes, and
// reports ratios besides the figures: "x-redsync" is Conclave's time as a multiple of
// redsync's, less than 1 being faster.

// BenchmarkUncontended compares Lock and Unlock of a free lock.
func BenchmarkUncontended(b *testing.B) {
	all := []rival{
		{"", conclave},
		of(redislocks.Redsync()),
		of(redislocks.RedsyncTuned()),
		of(redislocks.Redislock()),
		of(redislocks.RedislockWatchdog()),
		of(redislocks.RedislockPrompt()),
	}
	for n, all := range map[int][]rival{1: all, 5: all[:3]} { // redislock has one node
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			c := redistest.New(b, n)
			var fns []func() []time.Duration
			for i, r := range all {
				fns = append(fns, cycles(b, r.join(b, c), fmt.Sprintf("job-%d", i)))
			}
			report(b, all, turns(b, fns...))
		})
	}
}

// cycles returns a function that locks and unlocks a few times and returns how long each
// time took.
func cycles(b *testing.B, lock redislocks.Locker, key string) func() []time.Duration {
	b.Helper()
	const inARow = 20
	ctx := b.Context()
	return func() []time.Duration {
		var took []time.Duration
		for range inARow {
			start := time.Now()
			h, err := lock(ctx, key)
			require.NoError(b, err)
			require.NoError(b, h.Unlock(ctx))
			took = append(took, time.Since(start))
		}
		return took
	}
}

// report gives the median of each library, the first of which is Conclave, and Conclave's
// as a multiple of each.
func report(b *testing.B, all []rival, took [][]time.Duration) {
	b.Helper()
	ours := median(took[0])
	b.ReportMetric(micros(ours), "µs/op")
	for i, r := range all[1:] {
		theirs := median(took[i+1])
		b.ReportMetric(micros(theirs), "µs-"+r.name+"/op")
		b.ReportMetric(times(ours, theirs), "x-"+r.name)
	}
}

// operations are the times of a lock's operations, by name.
type operations map[string][]time.Duration

func (o operations) run(b *testing.B, lock redislocks.Locker, key string) {
	b.Helper()
	var h redislocks.Held
	timed := func(name string, fn func(context.Context) error) {
		start := time.Now()
		require.NoError(b, fn(b.Context()), name)
		o[name] = append(o[name], time.Since(start))
	}
	timed("Lock", func(ctx context.Context) (err error) { h, err = lock(ctx, key); return err })
	timed("Extend", h.Extend)
	timed("Unlock", h.Unlock)
}

// BenchmarkOneOfFiveHangs compares what a node costs that is suspended: it accepts
// connections and answers nothing. Default redsync is measured once, because it takes
// that long. "over-timeout" is how much longer than the node timeout Conclave's slowest
// operation took, in milliseconds.
func BenchmarkOneOfFiveHangs(b *testing.B) {
	const hung = 2
	c := redistest.New(b, 5)
	ours, tuned, theirs := conclave(b, c), join(b, c, redislocks.RedsyncTuned()), join(b, c, redislocks.Redsync())
	for i, lock := range []redislocks.Locker{ours, tuned, theirs} { // connected, and scripts known
		operations{}.run(b, lock, fmt.Sprintf("job-%d", i))
	}
	c.Node(hung).Stop(b)
	x, y, z := operations{}, operations{}, operations{}
	x.run(b, ours, "job-0") // finds out, and counts
	z.run(b, theirs, "job-2")
	for b.Loop() {
		x.run(b, ours, "job-0")
		y.run(b, tuned, "job-1")
	}
	b.ReportMetric(0, "ns/op")
	for name, took := range x {
		over := slices.Max(took) - redlock.MaxNodeTimeout
		b.ReportMetric(millis(over), "ms-over-timeout-"+name)
		b.ReportMetric(millis(median(took)), "ms-"+name)
		b.ReportMetric(millis(median(y[name])), "ms-redsync-tuned-"+name)
		b.ReportMetric(millis(median(z[name])), "ms-redsync-"+name)
		b.ReportMetric(times(median(took), median(z[name])), "x-redsync-"+name)
	}
	c.Node(hung).Continue(b)
}
