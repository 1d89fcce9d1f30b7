package workers_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/process"
)

// event is what workers report.
type event struct {
	At     int64
	Worker string
}

// Time implements [workers.Event].
func (e event) Time() int64 { return e.At }

// hang bounds what should have happened long before.
const hang = 30 * time.Second

func TestMergerRestoresTheOrderOfEvents(t *testing.T) {
	t.Parallel()
	m := workers.NewMerger[event]()
	defer m.Stop()
	at := process.Now()
	for _, e := range []event{{At: at + 2}, {At: at}, {At: at + 1, Worker: "w1"}, {At: at + 1, Worker: "w2"}} {
		m.Add(e)
	}
	for _, want := range []event{{At: at}, {At: at + 1, Worker: "w1"}, {At: at + 1, Worker: "w2"}, {At: at + 2}} {
		assert.Equal(t, want, <-m.Out())
	}
}

func TestQuitEndsAllThatWereStartedInGoodOrder(t *testing.T) {
	t.Parallel()
	var all []*process.Process
	events := make(chan string, 10)
	for range 3 {
		p, err := process.Start("w", "stand by", "ready", func(e string) { events <- e }, func(detail string) { events <- "gone " + detail })
		require.NoError(t, err)
		all = append(all, p)
		require.Equal(t, "ready", receive(t, events))
	}
	if process.CanPause {
		require.NoError(t, all[0].Pause(t.Context()))
	}
	require.NoError(t, all[1].Kill())
	require.NoError(t, workers.Quit(all...))
	heard := make(map[string]int)
	for range 5 {
		heard[receive(t, events)]++
	}
	require.Equal(t, map[string]int{"bye": 2, "gone ": 3}, heard)
	require.NoError(t, workers.Quit(all...), "again")
}

func TestDrainTakesEventsUntilItIsDone(t *testing.T) {
	t.Parallel()
	m := workers.NewMerger[event]()
	defer m.Stop()
	for _, w := range []string{"w1", "w2", "w3"} {
		m.Add(event{At: process.Now(), Worker: w})
	}
	var taken []string
	take := func(e event) { taken = append(taken, e.Worker) }
	require.NoError(t, m.Drain(t.Context(), take, func() bool { return len(taken) == 2 }))
	require.Equal(t, []string{"w1", "w2"}, taken)
	ended, end := context.WithCancel(t.Context())
	end()
	require.ErrorIs(t, m.Drain(ended, func(event) {}, func() bool { return false }), context.Canceled)
}

func receive(t *testing.T, events <-chan string) string {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(hang):
		require.Fail(t, "no event")
		return ""
	}
}

func TestUnlessDoneForgivesWhatTheEndExplains(t *testing.T) {
	t.Parallel()
	ctx, end := context.WithCancel(t.Context())
	require.ErrorIs(t, workers.UnlessDone(ctx, assert.AnError), assert.AnError)
	end()
	require.NoError(t, workers.UnlessDone(ctx, assert.AnError))
}

func TestAwaitSaysWhatThereWasNoSignOf(t *testing.T) {
	t.Parallel()
	next := func(ctx context.Context) (event, error) {
		<-ctx.Done()
		return event{}, context.Cause(ctx)
	}
	_, err := workers.Await(t.Context(), next, time.Millisecond, "spring", func(event) bool { return true })
	require.EqualError(t, err, "no sign of spring within 1ms")
	require.NoError(t, workers.Watch(t.Context(), next, time.Millisecond))
	ended, end := context.WithCancel(t.Context())
	end()
	require.ErrorIs(t, workers.Watch(ended, next, hang), context.Canceled)
}
