package redislocks

import (
	"context"
	"errors"
	"time"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

// stopped is the node that hangs.
const stopped = 2

// hung is what a node costs that is suspended: it accepts connections and answers nothing.
// Redsync with its own settings takes ten seconds for each operation, so it does it once.
func hung() []perf.Work {
	work := func(name, title string, rounds, quick int, other func() Library) perf.Work {
		return perf.Work{
			Name: name, Title: title, On: perf.RedisFive,
			Metrics: []perf.Metric{of("lock"), of("extend"), of("unlock")},
			Rounds:  rounds, Quick: quick,
			Begin: func(ctx context.Context, env *perf.Env) ([]perf.Side, func() error, error) {
				libs, end := libraries(other())
				return hang(ctx, libs, end, env)
			},
		}
	}
	return []perf.Work{
		work("redis/hung", "Lock, Extend and Unlock while one of five nodes hangs", 30, 3, RedsyncTuned),
		work("redis/hung-defaults", "the same, beside redsync with its own settings", 1, 0, Redsync),
	}
}

// of is the time of one operation.
func of(name string) perf.Metric {
	return perf.Metric{Name: name, Unit: "ms", Stats: []perf.Stat{perf.P50, perf.P90}}
}

// hang begins the work: all have connections and the nodes their scripts when one hangs.
func hang(ctx context.Context, libs []Library, end func() error, env *perf.Env) ([]perf.Side, func() error, error) {
	sides, end, err := alone(libs, end, env, operations)
	if err != nil {
		return nil, end, err
	}
	for _, s := range sides {
		if _, err := s.Round(ctx); err != nil {
			return nil, end, err
		}
	}
	resume, err := env.Hang(ctx, stopped)
	if err != nil {
		return nil, end, err
	}
	return sides, func() error { return errors.Join(resume(), end()) }, nil
}

// operations measures each of a lock's operations once.
func operations(lock Locker, key string) roundFunc {
	return func(ctx context.Context) (perf.Samples, error) {
		samples := make(perf.Samples)
		var h Held
		timed := func(name string, fn func(context.Context) error) error {
			began := time.Now()
			err := fn(ctx)
			samples[name] = []float64{millis(time.Since(began))}
			return err
		}
		err := timed("lock", func(ctx context.Context) (err error) { h, err = lock(ctx, key); return err })
		if err != nil {
			return nil, err
		}
		err = errors.Join(timed("extend", func(ctx context.Context) error { return h.Extend(ctx) }), timed("unlock", func(ctx context.Context) error { return h.Unlock(ctx) }))
		return samples, err
	}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
