package redlockprom_test

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/conclaveprom"
	"github.com/conclave-go/conclave/conclaveprom/internal/traffic"
	"github.com/conclave-go/conclave/conclaveprom/redlockprom"
	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

// go-redis looks once a second whether a server is back, for up to a second after its
// client was closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// guard is how long a test waits for what must happen; only a failure takes that long.
const guard = 5 * time.Minute

func guarded(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), guard)
	tb.Cleanup(cancel)
	return ctx
}

func newMetrics(t *testing.T, opts ...redlockprom.Option) *redlockprom.Metrics {
	t.Helper()
	m, err := redlockprom.New(opts...)
	require.NoError(t, err)
	return m
}

func TestMutexesAndNodesAreCounted(t *testing.T) {
	t.Parallel()
	c := redistest.NewEmbedded(t, 3)
	net, metrics := c.Net(t), newMetrics(t)
	clients := net.Clients(t, func(*redis.Options) {})
	ctx := guarded(t)
	require.NoError(t, traffic.Redis(ctx, clients, metrics, func() { c.Node(0).Kill(t); c.Node(1).Kill(t) }))

	problems, err := testutil.CollectAndLint(metrics)
	require.NoError(t, err)
	require.Empty(t, problems)
	for metric, want := range map[string]int{
		"conclave_redlock_holds":                    1,
		"conclave_redlock_waiters":                  1,
		"conclave_redlock_wait_seconds":             1,
		"conclave_redlock_hold_seconds":             1,
		"conclave_redlock_grants_total":             2, // free and after a wait
		"conclave_redlock_failures_total":           6, // each reason, at zero or above
		"conclave_redlock_extension_seconds":        1,
		"conclave_redlock_extension_failures_total": 1,
		"conclave_redlock_losses_total":             3,
	} {
		require.Equal(t, want, testutil.CollectAndCount(metrics, metric), metric)
	}
	require.Equal(t, 3, testutil.CollectAndCount(newMetrics(t), "conclave_redlock_quorum_failures_total"), "at zero, before anything fails")
	require.GreaterOrEqual(t, counted(t, metrics, "conclave_redlock_quorum_failures_total"), 2, "to acquire and to extend")
	require.GreaterOrEqual(t, testutil.CollectAndCount(metrics, "conclave_redlock_node_failures_total"), 4, "two nodes, two operations")
}

// counted returns how many counters of a name are above zero.
func counted(t *testing.T, metrics prometheus.Collector, name string) (n int) {
	t.Helper()
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(metrics))
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetCounter().GetValue() > 0 {
				n++
			}
		}
	}
	return n
}

func TestWrongOptionsAreRefused(t *testing.T) {
	t.Parallel()
	_, err := redlockprom.New(conclaveprom.WithBuckets())
	require.ErrorContains(t, err, "redlockprom: no buckets")
}

func TestNamesAreMappedToLabels(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, conclaveprom.WithNameLabel(func(kind, name string) string { return kind + "/" + name[:1] }))
	o := m.Redlock()
	o.Waiting(redlock.Event{Name: "a1"})
	o.Waiting(redlock.Event{Name: "a2"})
	o.Waiting(redlock.Event{Name: "b1"})
	require.Equal(t, 2, testutil.CollectAndCount(m, "conclave_redlock_waiters"))
}
