package elections_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/elections"
	"github.com/conclave-go/conclave/internal/compare/works/worktest"
)

func TestEachSideOfEachWorkMeasuresWhatIsDeclared(t *testing.T) {
	worktest.Test{Works: elections.Works(), Stays: ofClientGo, Check: func(t *testing.T, measured map[string]perf.Samples) {
		t.Helper()
		require.Contains(t, measured, "clientv3/concurrency")
		for side, samples := range measured {
			for metric, all := range samples {
				require.GreaterOrEqual(t, len(all), 3, "%s of %s", metric, side)
			}
		}
	}}.Run(t)
}

// ofClientGo reports whether a key is that of an object of client-go's, which stay.
func ofClientGo(key string) bool { return strings.Contains(key, "-client-go-") }

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
				require.True(t, ofClientGo(string(kv.Key)), "%s is left", kv.Key)
			}
			require.NoError(t, end())
			require.NoError(t, on.Close())
		})
	}
}
