package capacity_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/capacity"
)

// tiny is as little as can be measured. Its leases are not lost on a busy machine.
func tiny() capacity.Config {
	cfg := capacity.Quick(io.Discard)
	cfg.TTL, cfg.StairTTL = 6*time.Second, 6*time.Second
	cfg.Settle, cfg.Probes, cfg.Operations = 0, 2, 10
	for _, n := range []*int{&cfg.Sessions, &cfg.Clients, &cfg.Holds, &cfg.Waiters, &cfg.HandedOver, &cfg.Keys, &cfg.Observers, &cfg.Watchers} {
		*n = 10
	}
	cfg.Workers = 2
	return cfg
}

// value returns a figure.
func value(t *testing.T, rows []capacity.Row, g capacity.Group, name string, n int, quantity string) float64 {
	t.Helper()
	for _, r := range rows {
		if r.Group == g && r.Name == name && r.N == n && r.Quantity == quantity {
			return r.Value
		}
	}
	require.Failf(t, "no figure", "%s %s %d %s", g, name, n, quantity)
	return 0
}

// It runs alone, since goroutines and memory are those of the process.
func TestEverythingIsMeasuredOnARealServer(t *testing.T) {
	cfg := tiny()
	rows, err := capacity.Run(t.Context(), cfg, func(string) bool { return true })
	require.NoError(t, err)

	load := func(name, quantity string) float64 { return value(t, rows, capacity.Loads, name, 10, quantity) }
	for _, name := range []string{"session", "session with client"} {
		require.GreaterOrEqual(t, load(name, capacity.AddEntries), 1.0, "%s: a grant is a log entry", name)
		require.Less(t, load(name, capacity.AddEntries), 2.0, "%s: and few are asked for twice", name)
		require.GreaterOrEqual(t, load(name, capacity.Goroutines), 10.0, name)
		require.Greater(t, load(name, capacity.Requests), 0.0, "%s: renewals", name)
	}
	for _, name := range []string{"hold", "waiter", "waiter of another session"} {
		require.LessOrEqual(t, load(name, capacity.AddRevisions), 1.0, "%s: a put is a revision, or shares one", name)
		require.Greater(t, load(name, capacity.AddRevisions), 0.0, name)
		require.Greater(t, load(name, capacity.AddWAL), 100.0, name)
	}
	require.Greater(t, load("waiter", "hand-over, mean"), 0.0)
	require.Less(t, load("hold", capacity.Goroutines), 10.0, "holds have no goroutines")
	require.GreaterOrEqual(t, load("cache key", capacity.AddRevisions), 1.0)
	require.GreaterOrEqual(t, load("observer", capacity.Goroutines), 10.0)
	require.Greater(t, load("observer with client", "proclamation to the last of them, mean"), 0.0)

	operation := func(name, quantity string) float64 {
		return value(t, rows, capacity.Operations, name, cfg.Operations, quantity)
	}
	require.InDelta(t, 2, operation("Lock and Unlock, free", capacity.OpRevisions), 0)
	require.InDelta(t, 0, operation("TryLock of a mutex that is held", capacity.OpRevisions), 0)
	require.InDelta(t, 1, operation("Proclaim", capacity.OpRevisions), 0)
	require.InDelta(t, 2, operation("Multi of 8 names: Lock and Unlock", capacity.OpRevisions), 0)
	require.InDelta(t, 0, operation("NewSession and Close", capacity.OpRevisions), 0)

	for _, name := range []string{capacity.Locking, capacity.Renewing} {
		steps := capacity.Steps(rows, name)
		require.NotEmpty(t, steps)
		require.Greater(t, steps[0].Throughput, 0.0, name)
		require.Greater(t, steps[0].P99, 0.0, name)
	}
}

func TestOnlyWhatIsWantedIsMeasured(t *testing.T) {
	t.Parallel()
	rows, err := capacity.Run(t.Context(), tiny(), func(part string) bool { return part == "knee of lock and unlock" })
	require.NoError(t, err)
	for _, r := range rows {
		require.Equal(t, capacity.Stairs, r.Group)
		require.Equal(t, capacity.Locking, r.Name)
	}
	require.Len(t, capacity.Steps(rows, capacity.Locking), 2)
}

func TestARunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cfg := tiny()
	begun := make(chan struct{}, 1)
	parts := 0 // read once the run has ended
	cfg.Progress = writer(func(p []byte) (int, error) {
		if strings.Contains(string(p), " so far)") {
			parts++
		}
		select {
		case begun <- struct{}{}:
		default:
		}
		return len(p), nil
	})
	ended := make(chan error, 1)
	go func() {
		_, err := capacity.Run(ctx, cfg, func(string) bool { return true })
		ended <- err
	}()
	<-begun
	cancel()
	select {
	case err := <-ended:
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 1, parts, "no other part is begun")
	case <-time.After(5 * time.Minute):
		require.Fail(t, "the run goes on")
	}
}

// writer is a function that is written to.
type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
