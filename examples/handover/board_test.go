package main

import (
	"io"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/process"
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

func TestAFaultIsOnlyOfUseToAHolder(t *testing.T) {
	t.Parallel()
	s := &stage{
		crew: &crew{Merger: workers.NewMerger[event]()}, board: newBoard([]string{""}),
		view: &plain{Lines: screen.Lines{W: io.Discard}},
	}
	defer s.Stop()
	p := &process.Process{} // without a name
	happens := func(k kind) { s.Add(event{At: process.Now() - int64(5*time.Millisecond), Kind: k, Detail: "late"}) }
	_, err := s.fault(t.Context(), p, cutOff, func() error { t.Error("done to one that waits"); return nil })
	require.ErrorIs(t, err, errDeposed)

	happens(granted)
	_, err = s.await(t.Context(), "the lock", func(e event) bool { return e.Kind == granted })
	require.NoError(t, err)
	_, err = s.fault(t.Context(), p, cutOff, func() error { return nil })
	require.NoError(t, err)
	_, err = s.fault(t.Context(), p, cutOff, func() error { happens(lost); return nil })
	require.ErrorIs(t, err, errDeposed, "lost just before")
}
