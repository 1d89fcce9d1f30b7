package conclaveprom_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/conclaveprom"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// guard is how long a test waits for what must happen; only a failure takes that long.
const guard = 5 * time.Minute

func guarded(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), guard)
	tb.Cleanup(cancel)
	return ctx
}

func newMetrics(t *testing.T, opts ...conclaveprom.Option) *conclaveprom.Metrics {
	t.Helper()
	m, err := conclaveprom.New(opts...)
	require.NoError(t, err)
	return m
}

func newSession(tb testing.TB, client *clientv3.Client, opts ...lease.Option) *lease.Session {
	tb.Helper()
	s, err := lease.NewSession(guarded(tb), client, opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), guard)
		defer cancel()
		require.NoError(tb, s.Close(ctx))
	})
	return s
}

func newMutex(tb testing.TB, s *lease.Session, name string) *lock.Mutex {
	tb.Helper()
	m, err := lock.NewMutex(s, name)
	require.NoError(tb, err)
	return m
}

// families gathers what a registry has that only takes what is as it was described.
func families(t *testing.T, c ...prometheus.Collector) map[string]*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	for _, c := range c {
		require.NoError(t, registry.Register(c))
	}
	all, err := registry.Gather()
	require.NoError(t, err)
	byName := make(map[string]*dto.MetricFamily)
	for _, f := range all {
		byName[f.GetName()] = f
	}
	return byName
}

// values returns the values of a metric by its labels, "mutex all"; of histograms, how
// often they were observed.
func values(t *testing.T, c prometheus.Collector, name string) map[string]float64 {
	t.Helper()
	all := make(map[string]float64)
	for _, m := range families(t, c)[name].GetMetric() {
		labels := make(map[string]string)
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		var words []string
		for _, l := range slices.Sorted(maps.Keys(labels)) {
			words = append(words, labels[l])
		}
		all[strings.Join(words, " ")] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return all
}

// positive are the values that are not zero.
func positive(t *testing.T, c prometheus.Collector, name string) map[string]float64 {
	t.Helper()
	all := values(t, c, name)
	maps.DeleteFunc(all, func(_ string, v float64) bool { return v == 0 })
	return all
}
