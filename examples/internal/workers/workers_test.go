package workers_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/workers"
)

// hang bounds what should have happened long before.
const hang = 30 * time.Second

func TestMergerRestoresTheOrderOfEvents(t *testing.T) {
	t.Parallel()
	m := workers.NewMerger[event]()
	defer m.Stop()
	at := workers.Now()
	for _, e := range []event{{At: at + 2}, {At: at}, {At: at + 1, Worker: "w1"}, {At: at + 1, Worker: "w2"}} {
		m.Add(e)
	}
	for _, want := range []event{{At: at}, {At: at + 1, Worker: "w1"}, {At: at + 1, Worker: "w2"}, {At: at + 2}} {
		assert.Equal(t, want, <-m.Out())
	}
}

// start begins a worker whose reports come out of the channel.
func start(t *testing.T) (*workers.Process, <-chan event) {
	t.Helper()
	events := make(chan event, 10)
	p, err := workers.Start("w1", workerVariable, "the job",
		func(e event) { events <- e },
		func(detail string) event { return event{Worker: "exited", Detail: detail} })
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, p.Kill())
		p.Wait()
	})
	require.Equal(t, "the job", receive(t, events).Detail)
	return p, events
}

func receive(t *testing.T, events <-chan event) event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(hang):
		require.Fail(t, "no event")
		return event{}
	}
}

func TestWorkerIsToldLinesAndEndsWhenAsked(t *testing.T) {
	t.Parallel()
	p, events := start(t)
	require.NoError(t, p.Send("a line"))
	require.Equal(t, "a line", receive(t, events).Detail)
	p.Quit()
	require.Equal(t, event{Worker: "exited"}, receive(t, events))
}

func TestPausedWorkerAnswersWhenItIsResumed(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); !workers.CanPause || err != nil {
		t.Skip("no SIGSTOP here, or nothing that tells when it has taken effect")
	}
	p, events := start(t)
	require.NoError(t, p.Send("a line"))
	pid := receive(t, events).PID
	for range 20 {
		require.NoError(t, p.Resume())
		require.NoError(t, p.Pause())
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		require.NoError(t, err)
		require.Contains(t, string(stat), ") T ", "it has stopped")
	}
	require.NoError(t, p.Send("another"))
	require.Never(t, func() bool { return len(events) > 0 }, 100*time.Millisecond, 10*time.Millisecond)
	require.NoError(t, p.Resume())
	require.Equal(t, "another", receive(t, events).Detail)
}

func TestKilledWorkerWasAskedToGo(t *testing.T) {
	t.Parallel()
	p, events := start(t)
	require.NoError(t, p.Kill())
	require.Equal(t, event{Worker: "exited"}, receive(t, events))
	require.NoError(t, p.Kill(), "again")
	if workers.CanPause {
		require.Error(t, p.Pause())
	}
}

func TestWorkerThatDoesNotUnderstandItsJobIsReported(t *testing.T) {
	t.Parallel()
	events := make(chan event, 10)
	p, err := workers.Start("w1", workerVariable, 1,
		func(e event) { events <- e },
		func(detail string) event { return event{Worker: "exited", Detail: detail} })
	require.NoError(t, err)
	p.Wait()
	require.Equal(t, event{Worker: "exited", Detail: "exit status 1"}, receive(t, events))
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
