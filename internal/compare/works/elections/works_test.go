package elections_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/elections"
)

// hang bounds what should have happened long before.
const hang = time.Minute

func TestEachSideOfEachWorkMeasuresWhatIsDeclared(t *testing.T) {
	var pool perf.Pool
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	for _, w := range elections.Works() {
		t.Run(w.Name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), hang)
			defer cancel()
			measured, err := perf.Once(ctx, &pool, w)
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(measured), 2)
			require.Contains(t, measured, "conclave")
			require.Contains(t, measured, "clientv3/concurrency")
			for side, samples := range measured {
				require.Len(t, samples, len(w.Metrics), side)
				for _, m := range w.Metrics {
					require.GreaterOrEqual(t, len(samples[m.Name]), 3, "%s of %s", m.Name, side)
					for _, v := range samples[m.Name] {
						require.Positive(t, v, "%s of %s", m.Name, side)
					}
				}
			}
		})
	}
}

func TestAWorkThatIsCalledOffEndsWithWhatItHasBegun(t *testing.T) {
	var pool perf.Pool
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	for _, w := range elections.Works() {
		if w.Name == "election/observe" {
			continue // a round begins nothing
		}
		t.Run(w.Name, func(t *testing.T) {
			on, err := pool.Env(t.Context(), w.On, true)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			sides, end, err := w.Begin(ctx, on)
			require.NoError(t, err)
			for _, side := range sides {
				ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond) // some are elected
				_, err := side.Round(ctx)
				cancel()
				require.ErrorIs(t, err, context.DeadlineExceeded, side.Name)
			}
			client, err := on.Client(ctx)
			require.NoError(t, err)
			left, err := client.Get(ctx, "elections-", clientv3.WithPrefix(), clientv3.WithKeysOnly())
			require.NoError(t, err)
			for _, kv := range left.Kvs {
				require.Contains(t, string(kv.Key), "-client-go-", "its objects stay")
			}
			require.NoError(t, end())
			require.NoError(t, on.Close())
		})
	}
}
