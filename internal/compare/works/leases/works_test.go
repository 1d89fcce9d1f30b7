package leases_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/leases"
)

// hang bounds what should have happened long before.
const hang = time.Minute

func TestEachSideOfEachWorkMeasuresWhatIsDeclared(t *testing.T) {
	var pool perf.Pool
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	for _, w := range leases.Works() {
		if strings.HasSuffix(w.Name, "/10000") {
			continue // for the record only
		}
		t.Run(w.Name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), hang)
			defer cancel()
			measured, err := perf.Once(ctx, &pool, w)
			require.NoError(t, err)
			requireNothingLeft(ctx, t, &pool, w.On)
			require.GreaterOrEqual(t, len(measured), 2)
			for side, samples := range measured {
				for _, m := range w.Metrics {
					require.Len(t, samples[m.Name], 1, "%s of %s", m.Name, side)
					require.Positive(t, samples[m.Name][0], "%s of %s", m.Name, side)
					t.Logf("%-40s %-10s %.1f %s", side, m.Name, samples[m.Name][0], m.Unit)
				}
			}
		})
	}
}

// requireNothingLeft requires that a work has removed its keys and ended its sessions.
func requireNothingLeft(ctx context.Context, t *testing.T, pool *perf.Pool, on perf.Servers) {
	t.Helper()
	env, err := pool.Env(ctx, on, true)
	require.NoError(t, err)
	defer func() { require.NoError(t, env.Close()) }()
	client, err := env.Client(ctx)
	require.NoError(t, err)
	keys, err := client.Get(ctx, "", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	require.NoError(t, err)
	require.Empty(t, keys.Kvs)
	left, err := client.Leases(ctx)
	require.NoError(t, err)
	require.Empty(t, left.Leases)
}
