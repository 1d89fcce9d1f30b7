package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/conclavetest"
	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

func TestOnlyTheBlindLoseAdditions(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, "-ttl", "60s", "-duration", "50ms", "-work", "1ms")
	programtest.RequireInOrder(t, out, `embedded etcd`,
		`1/4  Neither`, `after 40 additions the number is 5: 35 are lost`,
		`2/4  One number`, ` 1 at once: \d+/s swapping \(1\.00 tries\), \d+/s locking, ratio \d`, `16 at once`,
		`3/4  One number, and 1ms`, ` 1 at once: \d+/s swapping \(1\.00 tries\)`, `16 at once`,
		`4/4  64 numbers`, `16 at once`,
		`swaps/s +tries +p99 +locks/s +p99 +ratio\n`, `(?m)^0s +1 +1 +\d+ +1\.00`, `(?m)^1ms +16 +64 `, `Alone, swapping is`)
}

func TestInterruptLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	programtest.RequireInterruptible(t, "2/4", "-duration", "1h")
}

// newNumber returns a number that takes its time to be changed.
func newNumber(t *testing.T, work time.Duration) *number {
	t.Helper()
	return &number{client: conclavetest.NewCluster(t).Client(t), key: "test/number", work: work}
}

func requireValue(t *testing.T, n *number, want int) {
	t.Helper()
	got, err := sum(t.Context(), n.client, n.key)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestSwappingBeginsAgainFromWhatRefusedIt(t *testing.T) {
	t.Parallel()
	n := newNumber(t, 0)
	_, err := n.client.Put(t.Context(), n.key, "4")
	require.NoError(t, err)
	stale, err := n.client.Get(t.Context(), n.key)
	require.NoError(t, err)
	// The same value again is another revision: what was read is out of date.
	_, err = n.client.Put(t.Context(), n.key, "4")
	require.NoError(t, err)
	tries, err := n.swapFrom(t.Context(), stale.Kvs)
	require.NoError(t, err)
	assert.Equal(t, 2, tries)
	requireValue(t, n, 5)
}

func TestALockLostDuringTheWorkLeavesTheNumberAlone(t *testing.T) {
	t.Parallel()
	n := newNumber(t, time.Hour)
	granted := make(chan struct{})
	session, err := lease.NewSession(t.Context(), n.client, lease.WithObserver(lease.Observer{
		Granted: func(lease.Event) { close(granted) },
	}))
	require.NoError(t, err)
	mutex, err := lock.NewMutex(session, "test/lock")
	require.NoError(t, err)
	lost := make(chan error, 1)
	go func() { lost <- n.addLocked(t.Context(), mutex) }()
	<-granted
	require.NoError(t, session.Close(t.Context()))
	require.ErrorIs(t, <-lost, lock.ErrLost)
	requireValue(t, n, 0)
}

func TestBlindAdditionsAreLost(t *testing.T) {
	t.Parallel()
	n := newNumber(t, 0)
	require.NoError(t, addBlindly(t.Context(), n.client, n.key))
	requireValue(t, n, blindRounds)
}

func TestTheProgramFailsIfItIsToldToEndBeforeItHasMeasured(t *testing.T) {
	t.Parallel()
	programtest.RequireNotDone(t, "optimistic/0.lock", "optimistic: not measured: ", "-lock")
}

func TestACopyOfTheProgramNeedsNothingElse(t *testing.T) {
	t.Parallel()
	programtest.RequireCopy(t, "optimisticMain", "number.go")
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: optimistic ", map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"fractional TTL": {"-ttl", "1500ms"},
		"duration":       {"-duration", "0s"},
		"no work":        {"-work", "0s"},
		"much work":      {"-work", "1h"},
	})
}
