package conclaveprom_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/shard"
)

func TestShardsAreCountedWhereTheyAreOwnedAndPlannedByWhoPlans(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	group, client, ctx := c.Prefix(t)+"jobs", c.Client(t), guarded(t)
	metrics := newMetrics(t)
	broken := make(chan struct{})
	own := func(ctx context.Context, o *shard.Ownership) error {
		select {
		case <-o.Leaving():
		case <-broken: // of somebody's shard
		case <-ctx.Done():
			return ctx.Err()
		}
		return nil
	}
	label := group
	value := func(name, labels string) float64 { return values(t, metrics, name)[labels] }
	join := func(name string, opts ...shard.Option) *shard.Member {
		m, err := shard.Join(ctx, newSession(t, client), group, name, own, append(opts, shard.WithShards(8))...)
		require.NoError(t, err)
		require.NoError(t, m.Ready(ctx))
		return m
	}
	a := join("a", shard.WithObserver(metrics.Shard()))
	eventually := func(name string, want float64) {
		require.Eventually(t, func() bool { return value(name, label) == want }, guard, 5*time.Millisecond, name)
	}
	eventually("conclave_shard_owned", 8)
	b := join("b")
	eventually("conclave_shard_owned", 4)
	eventually("conclave_shard_members", 2)
	eventually("conclave_shard_moving", 0)
	eventually("conclave_shard_unowned", 0)
	require.Zero(t, value("conclave_shard_pending", label))
	require.Zero(t, value("conclave_shard_unowned_seconds", label))
	require.EqualValues(t, 4, value("conclave_shard_moves_total", label))
	require.GreaterOrEqual(t, value("conclave_shard_plans_total", label), 2.0)
	require.Positive(t, value("conclave_shard_plan_bytes", label))
	require.Zero(t, value("conclave_shard_plan_failures_total", label))
	require.Zero(t, value("conclave_shard_losses_total", label+" function"))
	require.NoError(t, b.Close(ctx))
	broken <- struct{}{}
	require.Eventually(t, func() bool { return value("conclave_shard_losses_total", label+" function") == 1 }, guard, 5*time.Millisecond)
	require.NoError(t, a.Close(ctx))
	require.Zero(t, value("conclave_shard_owned", label))
	require.Empty(t, values(t, metrics, "conclave_shard_members"), "it does not plan any more")
	require.Positive(t, values(t, metrics, "conclave_shard_wait_seconds")[label])
	require.Positive(t, values(t, metrics, "conclave_shard_hold_seconds")[label])
}
