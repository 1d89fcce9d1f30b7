package locks_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/locks"
)

// hang bounds what should have happened long before.
const hang = time.Minute

// tooMany marks works whose many clients say nothing more about the code.
func tooMany(name string) bool { return strings.HasSuffix(name, "00") }

func TestEachSideOfEachWorkMeasuresWhatIsDeclared(t *testing.T) {
	var pool perf.Pool
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	for _, w := range locks.Works() {
		if tooMany(w.Name) {
			continue
		}
		t.Run(fmt.Sprintf("%s on %d", w.Name, w.On), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), hang)
			defer cancel()
			measured, err := perf.Once(ctx, &pool, w)
			require.NoError(t, err)
			requireNothingLeft(ctx, t, &pool, w.On)
			require.GreaterOrEqual(t, len(measured), 3)
			for side, samples := range measured {
				for _, m := range w.Metrics {
					require.NotEmpty(t, samples[m.Name], "%s of %s", m.Name, side)
					for _, v := range samples[m.Name] {
						require.Positive(t, v, "%s of %s", m.Name, side)
					}
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
	leases, err := client.Leases(ctx)
	require.NoError(t, err)
	require.Empty(t, leases.Leases)
}
