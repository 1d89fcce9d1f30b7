package redislocks

import (
	"context"
	"fmt"
	"time"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

// handOvers is the time from the call of Unlock to the return of another contender's Lock.
func handOvers() (all []perf.Work) {
	for _, on := range []perf.Servers{perf.RedisOne, perf.RedisFive} {
		for _, n := range []int{2, 10} {
			name := fmt.Sprintf("redis/handover-%d", n)
			all = append(all, perf.Work{
				Name: name, Title: fmt.Sprintf("Unlock until another's Lock returns, %d contenders, %s", n, what(on)), On: on,
				Metrics: []perf.Metric{{Name: "hand-over", Unit: "ms", Stats: []perf.Stat{perf.P50, perf.P90}}},
				Rounds:  8, Quick: 1,
				Begin: func(_ context.Context, env *perf.Env) ([]perf.Side, func() error, error) {
					times := 10
					if env.Quick {
						times = 4
					}
					return contended(env, n, rivals(on), name, passed(times))
				},
			})
		}
	}
	return all
}

// passed lets the lock be passed on so many times.
func passed(times int) func(all []Locker, key string) roundFunc {
	return func(all []Locker, key string) roundFunc {
		return func(ctx context.Context) (perf.Samples, error) {
			c := &contest{left: times + 1}
			err := c.run(ctx, all, key)
			return perf.Samples{"hand-over": c.handOver}, err
		}
	}
}

// throughputs is how often ten contenders are granted a lock that each takes as often as it
// can.
func throughputs() (all []perf.Work) {
	const contenders, name = 10, "redis/throughput-10"
	for _, on := range []perf.Servers{perf.RedisOne, perf.RedisFive} {
		all = append(all, perf.Work{
			Name: name, Title: fmt.Sprintf("Lock and Unlock by %d contenders, %s", contenders, what(on)), On: on,
			Metrics: []perf.Metric{{Name: "throughput", Unit: "1/s", Stats: []perf.Stat{perf.P50}, More: true}},
			Rounds:  6, Quick: 1,
			Begin: func(_ context.Context, env *perf.Env) ([]perf.Side, func() error, error) {
				window := time.Second
				if env.Quick {
					window /= 4
				}
				return contended(env, contenders, rivals(on), name, crowded(window))
			},
		})
	}
	return all
}

// crowded lets all take the lock for so long.
func crowded(window time.Duration) func(all []Locker, key string) roundFunc {
	return func(all []Locker, key string) roundFunc {
		return func(ctx context.Context) (perf.Samples, error) {
			c := &contest{window: window}
			err := c.run(ctx, all, key)
			return perf.Samples{"throughput": {float64(c.grants) / window.Seconds()}}, err
		}
	}
}
