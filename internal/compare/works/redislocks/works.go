package redislocks

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

// Works returns the works of this package.
func Works() []perf.Work {
	return slices.Concat(uncontended(), handOvers(), throughputs(), hung())
}

// cleanUp bounds the end of a work.
const cleanUp = 10 * time.Second

// what are the servers, in titles.
func what(on perf.Servers) string {
	if on == perf.RedisOne {
		return "one node"
	}
	return "five nodes"
}

// libraries returns Conclave and the others, and what ends Conclave's contenders.
func libraries(others ...Library) (all []Library, end func() error) {
	ours, closing := Conclave()
	return append([]Library{ours}, others...), func() error {
		ctx, cancel := context.WithTimeout(context.Background(), cleanUp)
		defer cancel()
		return closing(ctx)
	}
}

// alone begins a work that each library does with one contender.
func alone(all []Library, end func() error, on *perf.Env, round func(l Locker, key string) roundFunc) ([]perf.Side, func() error, error) {
	var sides []perf.Side
	for _, l := range all {
		lock, err := l.Join(on.Redis)
		if err != nil {
			return nil, end, fmt.Errorf("%s: %w", l.Name, err)
		}
		sides = append(sides, perf.Side{Name: l.Name, Lacks: l.Lacks, Round: round(lock, "alone/"+l.Name)})
	}
	return sides, end, nil
}

type roundFunc = func(ctx context.Context) (perf.Samples, error)

// uncontended is locking and unlocking what nobody else wants.
func uncontended() (all []perf.Work) {
	for _, on := range []perf.Servers{perf.RedisOne, perf.RedisFive} {
		others := []Library{Redsync(), RedsyncTuned(), Raw()}
		if on == perf.RedisOne {
			others = append(others, Redislock(), RedislockWatchdog(), RedislockPrompt())
		}
		all = append(all, perf.Work{
			Name: "redis/uncontended", Title: "Lock and Unlock of a free lock, " + what(on), On: on,
			Metrics: []perf.Metric{{Name: "latency", Unit: "µs", Stats: []perf.Stat{perf.P50, perf.P90}}},
			Rounds:  100, Quick: 5,
			Begin: func(_ context.Context, env *perf.Env) ([]perf.Side, func() error, error) {
				libs, end := libraries(others...)
				return alone(libs, end, env, visits)
			},
		})
	}
	return all
}

// visits locks and unlocks a few times in a row.
func visits(lock Locker, key string) roundFunc {
	const inARow = 20
	return func(ctx context.Context) (perf.Samples, error) {
		took := make([]float64, inARow)
		for i := range took {
			began := time.Now()
			h, err := lock(ctx, key)
			if err != nil {
				return nil, err
			}
			if err := h.Unlock(ctx); err != nil {
				return nil, err
			}
			took[i] = float64(time.Since(began)) / float64(time.Microsecond)
		}
		return perf.Samples{"latency": took}, nil
	}
}
