// Package worktest tests works: that each side does them and measures what they declare,
// on real servers.
package worktest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/process"
)

const (
	// tries is how often a work is done until it succeeds: on a busy machine leases as short
	// as theirs are lost.
	tries = 3
	// hang bounds one of them.
	hang = 3 * time.Minute
	// lateLease is above the TTL of those who are cut off, whose grant may arrive late.
	lateLease = time.Minute
)

// Main is the TestMain of a package of works: copies of the test binary are servers.
func Main(m *testing.M) {
	process.Main(perf.Roles())
	goleak.VerifyTestMain(m)
}

// Test lets each side of each work do it once, as in a quick run: each has to measure what
// is declared, above zero, and to leave nothing in an etcd.
type Test struct {
	Works []perf.Work
	// MayBeZero are metrics that may be zero.
	MayBeZero []string
	// Stays says which keys may stay; nil for none.
	Stays func(key string) bool
	// Check, if not nil, is given what was measured, by side.
	Check func(t *testing.T, measured map[string]perf.Samples)
}

// Run runs the test, work by work.
func (x Test) Run(t *testing.T) {
	t.Helper()
	var pool perf.Pool
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	for _, w := range x.Works {
		t.Run(w.ID(), func(t *testing.T) {
			measured := Once(t, &pool, w)
			require.Contains(t, measured, perf.Ours)
			require.GreaterOrEqual(t, len(measured), 2)
			for side, samples := range measured {
				requireSamples(t, w.Metrics, side, samples, x.MayBeZero)
			}
			x.requireNothingLeft(t, &pool, w.On)
			if x.Check != nil {
				x.Check(t, measured)
			}
		})
	}
}

// Once lets each side of a work do it once.
func Once(t *testing.T, pool *perf.Pool, w perf.Work) (measured map[string]perf.Samples) {
	t.Helper()
	var err error
	for range tries {
		ctx, cancel := context.WithTimeout(t.Context(), hang)
		measured, err = perf.Once(ctx, pool, w)
		cancel()
		if err == nil {
			break
		}
		t.Logf("%s: %v", w.ID(), err)
	}
	require.NoError(t, err)
	return measured
}

func requireSamples(t *testing.T, metrics []perf.Metric, side string, samples perf.Samples, mayBeZero []string) {
	t.Helper()
	require.Len(t, samples, len(metrics), side)
	for _, m := range metrics {
		require.NotEmpty(t, samples[m.Name], "%s of %s", m.Name, side)
		for _, v := range samples[m.Name] {
			if !slices.Contains(mayBeZero, m.Name) {
				require.Positive(t, v, "%s of %s", m.Name, side)
			}
		}
	}
}

// requireNothingLeft requires that a work on etcd has ended its sessions and removed its
// keys, but for leases that nobody knows of and that end soon.
func (x Test) requireNothingLeft(t *testing.T, pool *perf.Pool, on perf.Servers) {
	t.Helper()
	ctx := t.Context()
	if !slices.Contains([]perf.Servers{perf.EtcdFast, perf.EtcdDurable, perf.EtcdCluster}, on) {
		return
	}
	env, err := pool.Env(ctx, on, true)
	require.NoError(t, err)
	defer func() { require.NoError(t, env.Close()) }()
	client, err := env.Client(ctx)
	require.NoError(t, err)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		keys, err := client.Get(ctx, "", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		require.NoError(c, err)
		for _, kv := range keys.Kvs {
			require.True(c, x.Stays != nil && x.Stays(string(kv.Key)), "%s is left", kv.Key)
		}
		leases, err := client.Leases(ctx)
		require.NoError(c, err)
		require.Empty(c, leases.Leases, "a lease is left")
	}, lateLease, lateLease/600)
}
