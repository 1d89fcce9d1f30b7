package partitions_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/partitions"
	"github.com/conclave-go/conclave/internal/compare/works/worktest"
)

func TestBothSidesAreCutOffAndTheirSuccessorsGranted(t *testing.T) {
	var pool perf.Pool
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	for _, w := range partitions.Works() {
		measured := worktest.Once(t, &pool, w)
		require.Len(t, measured, 2)
		for side, samples := range measured {
			require.Len(t, samples, len(w.Metrics), side)
			for i, margin := range samples["margin"] {
				require.NotZero(t, margin, side)
				require.InDelta(t, max(-margin, 0), samples["overlap"][i], 0, side)
				require.Equal(t, margin < 0, samples["two holders"][i] == 100, side)
				require.Greater(t, samples["succession"][i], margin, "%s is told after the cut", side)
			}
			require.Len(t, samples["margin"], 3, side)
		}
		for _, overlap := range measured["conclave"]["overlap"] {
			require.Less(t, overlap, 1000.0, "the one who is told may wake up late")
		}
	}
}

func TestAPartitionThatIsCalledOffEndsWithWhatItHasBegun(t *testing.T) {
	var pool perf.Pool
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	for _, w := range partitions.Works() {
		on, err := pool.Env(t.Context(), w.On, true)
		require.NoError(t, err)
		sides, end, err := w.Begin(t.Context(), on)
		require.NoError(t, err)
		for _, side := range sides {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second) // some have queued
			_, err := side.Round(ctx)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded, side.Name)
		}
		client, err := on.Client(t.Context())
		require.NoError(t, err)
		left, err := client.Get(t.Context(), "partitions-", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		require.NoError(t, err)
		require.Empty(t, left.Kvs)
		require.NoError(t, end())
		require.NoError(t, on.Close())
	}
}
