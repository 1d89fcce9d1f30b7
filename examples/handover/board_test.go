package main

import (
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

// exampleBoard is one on which w2 has the lock, after w1, and w3 waits.
func exampleBoard(t *testing.T) *board {
	t.Helper()
	b := newBoard([]string{"w1", "w2", "w3"})
	var completed []handover
	for _, e := range []event{
		{At: 1, Worker: "w1", Kind: ready, TTL: time.Second, PID: 101},
		{At: 10, Worker: "w1", Kind: granted, Key: "l/1", Token: "5"},
		{At: 10, Kind: enqueued, Key: "l/1", Revision: 5},
		{At: 20, Worker: "w2", Kind: wants},
		{At: 21, Kind: enqueued, Key: "l/2", Revision: 6},
		{At: 22, Worker: "w2", Kind: waits, Key: "l/2"},
		{At: 23, Worker: "w3", Kind: wants},
		{At: 24, Kind: enqueued, Key: "l/3", Revision: 7},
		{At: 25, Worker: "w3", Kind: waits, Key: "l/3"},
		{At: 1000, Worker: "w1", Kind: released},
		{At: 2000, Kind: dequeued, Key: "l/1"},
		{At: 3000, Worker: "w2", Kind: granted, Key: "l/2"},
	} {
		if h, ok := b.apply(e); ok {
			completed = append(completed, h)
		}
	}
	require.Equal(t, []handover{{at: 3000, from: "w1", to: "w2", token: "6", took: 2000}}, completed)
	return b
}

func TestBoardKnowsWhoWaitsForWhom(t *testing.T) {
	t.Parallel()
	b := exampleBoard(t)
	assert.Equal(t, []string{"w2", "w3"}, b.line())
	assert.Equal(t, "w2", b.predecessor("w3"))
	assert.Empty(t, b.predecessor("w2"))
	assert.Equal(t, "w2 holds, token 6, 0.00 ms after w1; waiting: w3 for w2", describe(b, b.handovers[0]))
}

func TestBoardCountsNoHandOverOfAFreeLock(t *testing.T) {
	t.Parallel()
	b := exampleBoard(t)
	b.apply(event{At: 4000, Worker: "w2", Kind: released})
	b.apply(event{At: 5000, Worker: "w1", Kind: wants})
	_, ok := b.apply(event{At: 6000, Worker: "w1", Kind: granted, Key: "l/1", Token: "8"})
	assert.False(t, ok)
}

func TestPanelFitsTheScreen(t *testing.T) {
	t.Parallel()
	b := exampleBoard(t)
	for _, width := range []int{20, 80, 140} {
		for _, l := range (panel{screen.NewStyles(), width}).draw(b) {
			assert.LessOrEqual(t, lipgloss.Width(l), width, "%q", l)
		}
	}
}

func TestBarsGrowWithTheTime(t *testing.T) {
	t.Parallel()
	assert.Equal(t, '▁', bar(0))
	assert.Equal(t, '▁', bar(time.Millisecond/2))
	assert.Equal(t, '▄', bar(4*time.Millisecond))
	assert.Equal(t, '▇', bar(32*time.Millisecond))
	assert.Equal(t, '█', bar(33*time.Millisecond))
	assert.Equal(t, '█', bar(time.Hour))
}

func TestPercentilesAreNearestRank(t *testing.T) {
	t.Parallel()
	sorted := []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	assert.Equal(t, time.Duration(5), percentile(sorted, 50))
	assert.Equal(t, time.Duration(9), percentile(sorted, 90))
	assert.Equal(t, time.Duration(10), percentile(sorted, 99))
	assert.Zero(t, percentile(nil, 50))
}
