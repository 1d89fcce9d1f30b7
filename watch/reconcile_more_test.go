package watch_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/watch"
)

// A function that changes its own key and then fails is not run at once for its own
// change, whether that is seen while it runs or soon after.
func TestFailingFunctionThatChangesItsOwnKeyBacksOff(t *testing.T) {
	t.Parallel()
	for _, lag := range []time.Duration{0, 5 * time.Millisecond, 500 * time.Millisecond} {
		bubble.Test(t, func(t *testing.T) {
			var runs atomic.Int32
			var c *control
			s := newStore()
			s.batch(s.putting("a", "1"))
			c = prepare(s)
			changes := make(chan struct{}, 1000)
			defer func() {
				close(changes)
				vtime.Advance(time.Minute)
			}()
			go func() {
				for range changes {
					vtime.Sleep(lag)
					c.cache.Apply(s.batch(s.putting("a", "again")))
				}
			}()
			var failed []time.Duration
			c.run(t, func(context.Context, string) error {
				runs.Add(1)
				changes <- struct{}{}
				if lag == 0 {
					vtime.Sleep(time.Millisecond)
				}
				return errors.New("broken")
			}, watch.WithReconcileObserver(watch.ReconcileObserver{Ran: func(_ *watch.Work, run watch.Run) {
				require.Equal(t, int(runs.Load()), run.Failures, "each failure counts")
				failed = append(failed, run.Took)
			}}))
			vtime.Advance(3 * time.Second)
			require.LessOrEqual(t, runs.Load(), int32(8), "0.1 s, 0.2 s, 0.4 s … later, less a half at most")
			require.GreaterOrEqual(t, runs.Load(), int32(5))
			require.ErrorIs(t, c.end(), context.Canceled)
			require.Len(t, failed, int(runs.Load()))
		})
	}
}

func TestEveryFailureIsLogged(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		var book logBook
		c := prepare(newStore())
		c.cache.LogTo(book.logger())
		c.run(t, func(context.Context, string) error {
			vtime.Sleep(time.Millisecond)
			return errors.New("broken")
		})
		go c.cache.Apply(c.store.batch(c.store.putting("a", "1")))
		vtime.Advance(500 * time.Microsecond)
		c.put("a", "2") // while it runs
		vtime.Advance(time.Millisecond)
		require.Contains(t, book.String(), `failures=1`)
		vtime.Advance(time.Second)
		require.Contains(t, book.String(), `failures=2`)
		require.ErrorIs(t, c.end(), context.Canceled)
	})
}

func TestFunctionThatAsksForItRunsAgainAfterATime(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		var j journal
		began := time.Now()
		c := newControl(t, func(_ context.Context, key string) error {
			j.add(fmt.Sprint(key, " ", time.Since(began)))
			if key == "a" {
				return fmt.Errorf("wrapped: %w", watch.RunAgain(time.Minute))
			}
			return watch.RunAgain(-1)
		})
		c.put("a", "1")
		c.put("b", "1")
		require.Equal(t, []string{"a 0s", "b 0s"}, j.take())
		vtime.Advance(2 * time.Minute)
		require.Equal(t, []string{"a 1m0s", "a 2m0s"}, j.take())
		vtime.Advance(10 * time.Second)
		c.put("a", "2")
		require.Equal(t, []string{"a 2m10s"}, j.take(), "a change does not wait")
		vtime.Advance(time.Minute)
		require.Equal(t, []string{"a 3m10s"}, j.take(), "the time counts from the last run")
		err := c.end()
		require.ErrorIs(t, err, context.Canceled)
		_, failed := errors.AsType[*watch.KeyError](err)
		require.False(t, failed, "it is no failure")
	})
}

func TestKeysComeFromElsewhereAndFromASecondCache(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		var j journal
		others := prepare(newStore())
		others.put("owner/a", "x")
		outside := make(chan string)
		c := newControl(t, func(_ context.Context, key string) error {
			j.add(key)
			return nil
		}, watch.WithSource(watch.From(others.cache, func(change watch.Change[string]) []string {
			if change.Deleted {
				return nil
			}
			return []string{change.Item.Value, change.Item.Value + "2"}
		})), watch.WithSource(func(ctx context.Context, add func(string)) error {
			for {
				select {
				case key := <-outside:
					add(key)
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}))
		require.Equal(t, []string{"x", "x2"}, j.take())
		others.put("owner/b", "y")
		require.Equal(t, []string{"y", "y2"}, j.take())
		others.remove("owner/b")
		outside <- "from outside"
		synctest.Wait()
		require.Equal(t, []string{"from outside"}, j.take())
		require.ErrorIs(t, c.end(), context.Canceled)
	})
}

func TestFailedSourceEndsReconcile(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		others := prepare(newStore())
		c := newControl(t, func(context.Context, string) error { return nil },
			watch.WithSource(func(context.Context, func(string)) error { return nil }),
			watch.WithSource(watch.From(others.cache, func(watch.Change[string]) []string { return nil })))
		broken := errors.New("broken")
		others.cache.Fail(broken)
		err := <-c.done
		require.ErrorIs(t, err, broken)
		require.NotErrorIs(t, err, context.Canceled)
	})
	c := watch.Offline(text)
	err := watch.Reconcile(t.Context(), c, func(context.Context, string) error { return nil }, watch.WithSource(nil))
	require.ErrorContains(t, err, "source is nil")
}

func TestObserverIsToldDepthAgeAndRetries(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		release := make(chan error)
		var work *watch.Work
		var last watch.Run
		var ended error
		c := newControl(t, func(context.Context, string) error { return <-release },
			watch.WithBackoff(time.Second, time.Second), watch.WithReconcileObserver(watch.ReconcileObserver{
				Opened: func(w *watch.Work) { work = w },
				Ran:    func(_ *watch.Work, run watch.Run) { last = run },
				Closed: func(_ *watch.Work, err error) { ended = err },
			}), watch.WithReconcileObserver(watch.ReconcileObserver{}))
		for _, key := range []string{"a", "b", "c"} {
			c.put(key, "1")
		}
		vtime.Advance(10 * time.Second)
		require.Equal(t, 1, work.Running())
		require.Equal(t, 2, work.Depth())
		require.Equal(t, 10*time.Second, work.Age())
		release <- errors.New("broken")
		synctest.Wait()
		require.Equal(t, "a", last.Key)
		require.Equal(t, 10*time.Second, last.Took)
		require.Equal(t, 1, last.Failures)
		require.ErrorContains(t, last.Err, "broken")
		require.Equal(t, 1, work.Waiting())
		require.Zero(t, work.Retries())
		release <- nil
		release <- nil
		synctest.Wait()
		require.Equal(t, 10*time.Second, last.Waited)
		vtime.Advance(time.Second)
		require.EqualValues(t, 1, work.Retries())
		require.Zero(t, work.Depth())
		require.Zero(t, work.Age())
		release <- nil
		synctest.Wait()
		require.Zero(t, work.Waiting())
		err := c.end()
		require.Equal(t, err, ended)
	})
}

func TestErrorOfManyFailingKeysIsBounded(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		const keys = 2000
		s := newStore()
		for i := range keys {
			s.put(fmt.Sprintf("%04d", i), "v")
		}
		c := prepare(s)
		c.run(t, func(context.Context, string) error { return errors.New("broken") }, watch.WithBackoff(time.Hour, time.Hour))
		err := c.end()
		require.ErrorContains(t, err, `reconciling "0009" failed`)
		require.NotContains(t, err.Error(), `"0010"`)
		require.ErrorContains(t, err, "the last run of 1990 more keys failed")
		require.Less(t, len(err.Error()), 2000)
	})
}
