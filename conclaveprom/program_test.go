package conclaveprom_test

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/conclaveprom"
	"github.com/conclave-go/conclave/conclaveprom/internal/traffic"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// program runs what a program does with locks, elections and caches, and leaves it
// running until the test ends.
func program(t *testing.T, c *etcdtest.Cluster, m *conclaveprom.Metrics) {
	t.Helper()
	stop, err := traffic.Etcd(guarded(t), c.Client(t), c.Client(t), c.Prefix(t), m)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), guard)
		defer cancel()
		require.NoError(t, stop(ctx))
	})
}

var _ prometheus.Collector = (*conclaveprom.Metrics)(nil)
