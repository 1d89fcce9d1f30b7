package locks

import (
	"context"
	"slices"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

// The sides; others are named where they are made.
const (
	conclave = "conclave"
	official = "clientv3/concurrency"
	oneLine  = "conclave/concurrency"
	raw      = "raw"
)

// What the others lack.
const (
	unguarded    = "Unlock checks nothing; two goroutines of one session both hold it"
	excludesNone = "excludes nobody"
)

// Works returns the works of this package.
func Works() []perf.Work {
	return slices.Concat(uncontended(), contended(), handOvers(), underWrites(), crowds(), many(), []perf.Work{tryHeld(), multi()})
}

// round is what a side does once.
type round = func(ctx context.Context) (perf.Samples, error)

// declared returns the samples of the metrics that are asked for.
func declared(samples perf.Samples, metrics []perf.Metric) perf.Samples {
	asked := make(perf.Samples)
	for _, m := range metrics {
		asked[m.Name] = samples[m.Name]
	}
	return asked
}

// throughput is how often a lock was granted.
func throughput() perf.Metric {
	return perf.Metric{Name: "throughput", Unit: "1/s", Stats: []perf.Stat{perf.P50}, More: true}
}

// handOver is the time from the call of one contender's Unlock to the return of another's
// Lock.
func handOver() perf.Metric {
	return perf.Metric{Name: "hand-over", Unit: "ms", Stats: []perf.Stat{perf.P50, perf.P90, perf.P99}}
}

// latency is the time of a call, or of a few that belong together.
func latency() perf.Metric {
	return perf.Metric{Name: "latency", Unit: "µs", Stats: []perf.Stat{perf.P50, perf.P90}}
}
