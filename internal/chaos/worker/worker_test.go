package worker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/internal/chaos/worker"
)

// fake is a lock that nobody else wants, lost when the test says so.
type fake struct {
	lost  chan struct{}
	until time.Time
}

func (f *fake) Lock(context.Context) (worker.Hold, error) {
	if isClosed(f.lost) {
		return nil, errors.New("no more")
	}
	return fakeHold{f}, nil
}

func (f *fake) Close(context.Context) error { return nil }

type fakeHold struct{ *fake }

func (h fakeHold) Token() int64                     { return 1 << 20 }
func (h fakeHold) Key() string                      { return "k" }
func (h fakeHold) Done() <-chan struct{}            { return h.lost }
func (h fakeHold) Remaining() (time.Duration, bool) { return time.Until(h.until), true }
func (h fakeHold) Phantom() bool                    { return false }
func (h fakeHold) Unlock(context.Context) error     { return h.Err() }

func (h fakeHold) Err() error {
	if isClosed(h.lost) {
		return errors.New("lost")
	}
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// play runs a worker on a fake lock in virtual time.
func play(t *testing.T, during func(ctx context.Context, f *fake, w *worker.Worker, log *history.Log)) []history.Event {
	t.Helper()
	var events []history.Event
	bubble.Test(t, func(t *testing.T) {
		log := history.NewLog()
		now := func() int64 { return time.Now().UnixNano() }
		f := &fake{lost: make(chan struct{}), until: time.Now().Add(time.Minute)}
		w := &worker.Worker{
			Name: "w1", Locker: f, Resource: worker.Local(worker.NewResource(now, log.Add), "l", "w1"), Gate: worker.NewGate(),
			Now: now, Emit: log.Add, Hold: 10 * time.Millisecond, Think: 10 * time.Millisecond, Sample: time.Millisecond,
			Patience: time.Second, Random: rand.New(rand.NewPCG(1, 1)),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.Run(ctx)
		}()
		during(ctx, f, w, log)
		cancel()
		<-done
		events = log.Events()
	})
	return events
}

// await returns the next event of a kind.
func await(ctx context.Context, t *testing.T, log *history.Log, mark int, kind history.Kind) history.Event {
	t.Helper()
	e, err := log.Await(ctx, mark, func(e history.Event) bool { return e.Kind == kind })
	require.NoError(t, err)
	return e
}

func TestAWorkerWaitsAtThePointThatItWasToldAndWritesWhenItGoesOn(t *testing.T) {
	t.Parallel()
	for _, point := range []string{worker.Stay, worker.Before, worker.Between} {
		play(t, func(ctx context.Context, _ *fake, w *worker.Worker, log *history.Log) {
			mark := log.Mark()
			w.Gate.Told(worker.Arm(point))
			at := await(ctx, t, log, mark, history.Reached)
			require.Equal(t, point, at.Point)
			synctest.Wait()
			mark = log.Mark()
			<-time.After(time.Second)
			_, wrote := log.Last(func(e history.Event) bool { return e.Kind == history.Wrote && e.Hold == at.Hold })
			require.False(t, wrote, "it waits")
			w.Gate.Told(worker.Go)
			if point == worker.Stay {
				<-time.After(time.Second)
				w.Gate.Told(worker.Enough)
			}
			require.Equal(t, at.Hold, await(ctx, t, log, mark, history.Wrote).Hold)
			require.NotEqual(t, at.Hold, await(ctx, t, log, log.Mark(), history.Granted).Hold, "it waits once")
		})
	}
}

func TestAWorkerThatIsToWaitElsewhereGoesOn(t *testing.T) {
	t.Parallel()
	play(t, func(ctx context.Context, _ *fake, w *worker.Worker, log *history.Log) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		for _, point := range []string{worker.Stay, worker.Before, worker.Stay, worker.Between} {
			mark := log.Mark()
			w.Gate.Told(worker.Arm(point))
			require.Equal(t, point, await(ctx, t, log, mark, history.Reached).Point)
		}
	})
}

func TestALockWhoseSessionCannotBeReplacedIsNotGranted(t *testing.T) {
	t.Parallel()
	refused := errors.New("refused")
	l := worker.StockThatCannotRenew(refused)
	for range 2 {
		_, err := l.Lock(t.Context())
		require.ErrorIs(t, err, refused)
	}
}

func TestAShardGoesToItsHeirOrToWhomItWasPromised(t *testing.T) {
	t.Parallel()
	for range 100 {
		require.Equal(t, "w1", worker.Choose([]string{"w1", "w2", "w3"}, "w1", "w2"))
		require.Equal(t, "w2", worker.Choose([]string{"w1", "w2", "w3"}, "", "w2"))
		require.Equal(t, "w2", worker.Choose([]string{"w1", "w2", "w3"}, "w4", "w2"), "the heir is the owner")
		require.Equal(t, "w1", worker.Choose([]string{"w1"}, "", "w2"), "who is gone")
		require.Empty(t, worker.Choose(nil, "w1", "w2"))
	}
}

func TestAStayEndsWithTheHold(t *testing.T) {
	t.Parallel()
	play(t, func(ctx context.Context, f *fake, w *worker.Worker, log *history.Log) {
		w.Gate.Told(worker.Arm(worker.Stay))
		await(ctx, t, log, 0, history.Reached)
		w.Gate.Told(worker.Go)
		<-time.After(time.Second)
		close(f.lost)
		require.Equal(t, "lost", await(ctx, t, log, 0, history.Told).Detail)
	})
}

// Whoever looks before the write does not write after a loss; whoever does not, does.
func TestALossBeforeTheLookKeepsOnlyThoseWhoLookFromWriting(t *testing.T) {
	t.Parallel()
	lost := func(point string) map[history.Way]bool {
		events := play(t, func(ctx context.Context, f *fake, w *worker.Worker, log *history.Log) {
			w.Gate.Told(worker.Arm(point))
			await(ctx, t, log, 0, history.Reached)
			close(f.lost)
			synctest.Wait()
			w.Gate.Told(worker.Go)
			await(ctx, t, log, log.Mark(), history.Released)
		})
		ways := make(map[history.Way]bool)
		told := false
		for _, e := range events {
			told = told || e.Kind == history.Told
			if told && e.Kind == history.Wrote {
				ways[e.Way] = true
			}
		}
		return ways
	}
	require.Equal(t, map[history.Way]bool{history.Unguarded: true, history.Fenced: true}, lost(worker.Before))
	require.Equal(t, map[history.Way]bool{history.Unguarded: true, history.Fenced: true, history.Deadline: true}, lost(worker.Between))
}

func TestALostHoldIsNotReportedAsReleased(t *testing.T) {
	t.Parallel()
	events := play(t, func(ctx context.Context, f *fake, w *worker.Worker, log *history.Log) {
		w.Gate.Told(worker.Arm(worker.Between))
		await(ctx, t, log, 0, history.Reached)
		close(f.lost)
		synctest.Wait()
		w.Gate.Told(worker.Go)
		await(ctx, t, log, log.Mark(), history.Released)
	})
	holds := history.Holds(events)
	last := holds[len(holds)-1]
	require.Equal(t, int64(history.Open), last.Releasing)
	require.Equal(t, int64(history.Open), last.Released)
	require.LessOrEqual(t, last.Until, last.Told)
	require.LessOrEqual(t, last.Valid, last.Told)
}

func TestTheResourceRefusesOlderTokensInItsFencedRegisterOnly(t *testing.T) {
	t.Parallel()
	var judged []history.Event
	r := worker.NewResource(func() int64 { return 1 }, func(e history.Event) { judged = append(judged, e) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- r.Serve(l) }()
	ctx, cancel := context.WithCancel(t.Context())
	c, err := worker.DialResource(ctx, l.Addr().String(), "l", "w1")
	require.NoError(t, err)
	do := func(write bool, way history.Way, token, value int64) worker.Response {
		resp, err := c.Do(ctx, worker.Request{Write: write, Way: way, Token: token, Value: value})
		require.NoError(t, err)
		return resp
	}
	require.Equal(t, worker.Response{OK: true, Value: 5}, do(true, history.Fenced, 2, 5))
	require.Equal(t, worker.Response{OK: false, Value: 5}, do(true, history.Fenced, 1, 6))
	require.False(t, do(false, history.Fenced, 1, 0).OK, "reads, too")
	require.True(t, do(false, history.Fenced, 3, 0).OK)
	require.False(t, do(true, history.Fenced, 2, 6).OK, "a read has brought a newer one")
	require.Equal(t, worker.Response{OK: true, Value: 7}, do(true, history.Unguarded, 1, 7))
	require.Len(t, judged, 4, "writes only")
	require.NoError(t, c.Close())
	cancel()
	require.NoError(t, l.Close())
	require.NoError(t, <-done)
}

func TestARegisterSaysWhatItWasTold(t *testing.T) {
	t.Parallel()
	want := worker.Stamp{Hold: "w1-2", Token: 3, Value: 4, Found: 5}
	got, err := worker.ParseStamp(want.String())
	require.NoError(t, err)
	require.Equal(t, want, got)
	for _, bad := range []string{"", "a b c", "a b c d"} {
		_, err := worker.ParseStamp(bad)
		require.Error(t, err, bad)
	}
}
