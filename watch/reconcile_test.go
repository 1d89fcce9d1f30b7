package watch_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/watch"
)

// control runs Reconcile in a bubble, on a cache that follows a store in the test.
type control struct {
	store  *store
	cache  *watch.Cache[string]
	cancel context.CancelFunc
	done   chan error
}

func newControl(t *testing.T, fn func(ctx context.Context, key string) error, opts ...watch.ReconcileOption) *control {
	t.Helper()
	c := prepare(newStore())
	c.run(t, fn, opts...)
	return c
}

// prepare returns a control that does not run yet, of a store with keys.
func prepare(s *store) *control {
	c := &control{store: s, cache: watch.Offline(text), done: make(chan error, 1)}
	b := watch.Batch{Snapshot: true, Revision: s.revision}
	for _, kv := range s.kvs {
		b.Events = append(b.Events, putEvent(kv))
	}
	c.cache.Apply(b)
	return c
}

func (c *control) run(t *testing.T, fn func(ctx context.Context, key string) error, opts ...watch.ReconcileOption) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c.cancel = cancel
	go func() { c.done <- watch.Reconcile(ctx, c.cache, fn, opts...) }()
	synctest.Wait()
}

func (c *control) put(key, value string) {
	c.cache.Apply(c.store.batch(c.store.putting(key, value)))
	synctest.Wait()
}

func (c *control) remove(key string) {
	c.cache.Apply(c.store.batch(c.store.removing(key)))
	synctest.Wait()
}

// end ends Reconcile and returns its error.
func (c *control) end() error {
	c.cancel()
	return <-c.done
}

// journal records runs.
type journal struct {
	mu   sync.Mutex
	runs []string
}

func (j *journal) add(run string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.runs = append(j.runs, run)
}

// take returns what was recorded since it was last called.
func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	runs := j.runs
	j.runs = nil
	return runs
}

func TestReconcileRunsEveryKeyThereIsAndEveryChange(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		var j journal
		s := newStore()
		s.batch(s.putting("b", "1"), s.putting("a", "1"))
		c := prepare(s)
		c.run(t, func(_ context.Context, key string) error {
			item, ok := c.cache.Get(key)
			j.add(fmt.Sprintf("%s=%s %v", key, item.Value, ok))
			return nil
		})
		require.Equal(t, []string{"a=1 true", "b=1 true"}, j.take())
		c.put("a", "2")
		require.Equal(t, []string{"a=2 true"}, j.take())
		c.put("c", "1")
		require.Equal(t, []string{"c=1 true"}, j.take())
		c.remove("b")
		require.Equal(t, []string{"b= false"}, j.take(), "a deleted key is reconciled as well")
		vtime.Advance(24 * time.Hour)
		require.Empty(t, j.take(), "without a change nothing runs")
		require.ErrorIs(t, c.end(), context.Canceled)
	})
}

func TestReconcileRunsAKeyOnceMoreThatChangedWhileItRan(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		var j journal
		proceed := make(chan struct{})
		c := newControl(t, func(_ context.Context, key string) error {
			j.add("begin " + key)
			<-proceed
			j.add("end " + key)
			return nil
		}, watch.WithWorkers(3))
		c.put("a", "1")
		for range 5 {
			c.put("a", "again")
		}
		require.Equal(t, []string{"begin a"}, j.take(), "never two runs of one key at once")
		c.put("b", "1")
		require.Equal(t, []string{"begin b"}, j.take(), "another key does not wait for it")
		close(proceed)
		synctest.Wait()
		runs := j.take()
		require.ElementsMatch(t, []string{"end a", "begin a", "end a", "end b"}, runs, "five changes make one more run")
		require.Less(t, slices.Index(runs, "end a"), slices.Index(runs, "begin a"))
		require.ErrorIs(t, c.end(), context.Canceled)
	})
}

func TestReconcileNeverRunsMoreKeysThanWorkers(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 4} {
		bubble.Test(t, func(t *testing.T) {
			var running, most, runs atomic.Int32
			c := newControl(t, func(context.Context, string) error {
				most.Store(max(most.Load(), running.Add(1)))
				vtime.Sleep(time.Second)
				running.Add(-1)
				runs.Add(1)
				return nil
			}, watch.WithWorkers(workers))
			for i := range 20 {
				c.put(fmt.Sprint(i), "value")
			}
			vtime.Sleep(time.Minute)
			require.EqualValues(t, workers, most.Load())
			require.EqualValues(t, 20, runs.Load())
			require.ErrorIs(t, c.end(), context.Canceled)
		})
	}
}

// instants records when something happened.
type instants struct {
	mu    sync.Mutex
	times []time.Time
}

func (i *instants) add(at time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.times = append(i.times, at)
}

func (i *instants) all() []time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.times)
}

func TestReconcileBacksOffExponentiallyWithJitter(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		const shortest, longest = time.Second, 20 * time.Second
		var runs instants
		var healed atomic.Bool
		c := newControl(t, func(context.Context, string) error {
			runs.add(time.Now())
			if healed.Load() {
				return nil
			}
			return errors.New("not yet")
		}, watch.WithBackoff(shortest, longest))
		c.put("a", "1")
		vtime.Advance(10 * time.Minute)
		times := runs.all()
		distinct := make(map[time.Duration]bool)
		for i := range len(times) - 1 {
			pause, full := times[i+1].Sub(times[i]), min(shortest<<min(i, 10), longest)
			require.LessOrEqual(t, pause, full, "pause %d", i)
			require.GreaterOrEqual(t, pause, full/2, "pause %d", i)
			distinct[pause] = true
		}
		require.Greater(t, len(distinct), len(times)/2, "the pauses vary")
		require.Greater(t, len(times), 30, "it never gives up")

		healed.Store(true)
		vtime.Advance(longest)
		n := len(runs.all())
		vtime.Advance(time.Hour)
		require.Len(t, runs.all(), n, "a success ends it")
		healed.Store(false)
		c.put("a", "2")
		vtime.Advance(shortest)
		require.Len(t, runs.all(), n+2, "and the next failure begins with the shortest pause")
		require.ErrorIs(t, c.end(), context.Canceled)
	})
}

func TestReconcileRunsAFailingKeyAtOnceWhenItChanges(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		c := newControl(t, func(context.Context, string) error {
			runs.Add(1)
			return errors.New("bad value")
		}, watch.WithBackoff(time.Hour, time.Hour))
		c.put("a", "1")
		require.EqualValues(t, 1, runs.Load())
		c.put("a", "2")
		require.EqualValues(t, 1, runs.Load(), "this may be the run's own")
		vtime.Advance(time.Second)
		c.put("a", "3")
		require.EqualValues(t, 2, runs.Load())
		c.put("other", "1")
		require.EqualValues(t, 3, runs.Load(), "and one that fails does not hold up others")
		require.ErrorIs(t, c.end(), context.Canceled)
	})
}

func TestReconcileReturnsTheLastErrorOfEveryFailingKey(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		errBroken := errors.New("broken")
		c := newControl(t, func(ctx context.Context, key string) error {
			switch key {
			case "fails":
				return errBroken
			case "hangs":
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}, watch.WithWorkers(2), watch.WithBackoff(time.Second, time.Second))
		c.put("fine", "1")
		c.put("fails", "1")
		c.put("hangs", "1")
		vtime.Advance(3 * time.Second)
		err := c.end()
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, errBroken)
		key, ok := errors.AsType[*watch.KeyError](err)
		require.True(t, ok)
		require.Equal(t, "fails", key.Key)
		require.GreaterOrEqual(t, key.Failures, 3)
		require.NotContains(t, err.Error(), `"fine"`)
		require.NotContains(t, err.Error(), `"hangs"`, "being cut short is not a failure of the key")
	})
}

func TestReconcileWaitsForRunningFunctions(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		finished := false
		c := newControl(t, func(ctx context.Context, _ string) error {
			<-ctx.Done()
			vtime.Sleep(time.Minute) // cleans up
			finished = true
			return nil
		})
		c.put("a", "1")
		require.ErrorIs(t, c.end(), context.Canceled)
		require.True(t, finished)
	})
}

func TestReconcileKeepsAPanicToTheKey(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		errInside := errors.New("inside")
		var others atomic.Int32
		c := newControl(t, func(_ context.Context, key string) error {
			switch key {
			case "panics":
				panic(errInside)
			case "exits":
				runtime.Goexit()
			}
			others.Add(1)
			return nil
		})
		c.put("panics", "1")
		c.put("exits", "1")
		c.put("other", "1")
		require.EqualValues(t, 1, others.Load(), "the only worker is still there")
		err := c.end()
		require.ErrorIs(t, err, errInside)
		p, ok := errors.AsType[*watch.PanicError](err)
		require.True(t, ok)
		require.Equal(t, errInside, p.Value)
		require.Contains(t, string(p.Stack), "reconcile_test.go")
		require.Contains(t, err.Error(), `"exits"`)
	})
}

func TestReconcileRunsAllKeysEveryResyncPeriod(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		var j journal
		c := newControl(t, func(_ context.Context, key string) error {
			j.add(key)
			return nil
		}, watch.WithResync(time.Hour))
		c.put("a", "1")
		c.put("b", "1")
		require.Equal(t, []string{"a", "b"}, j.take())
		vtime.Advance(59 * time.Minute)
		require.Empty(t, j.take())
		vtime.Advance(2 * time.Minute)
		require.Equal(t, []string{"a", "b"}, j.take())
		c.remove("a")
		require.Equal(t, []string{"a"}, j.take())
		vtime.Advance(time.Hour)
		require.Equal(t, []string{"b"}, j.take(), "keys that are gone are not run again")
		require.ErrorIs(t, c.end(), context.Canceled)
	})
}

func TestReconcileEndsWithTheCache(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		errStream := errors.New("the stream ended")
		c := newControl(t, func(ctx context.Context, _ string) error {
			<-ctx.Done() // its context ends with the cache
			return ctx.Err()
		})
		c.put("a", "1")
		c.cache.Fail(errStream)
		require.ErrorIs(t, <-c.done, errStream)
	})
	bubble.Test(t, func(t *testing.T) {
		c := newControl(t, func(context.Context, string) error { return nil })
		require.NoError(t, c.cache.Close(t.Context()))
		require.ErrorIs(t, <-c.done, watch.ErrClosed)
	})
}

func TestReconcileRefusesWrongOptions(t *testing.T) {
	t.Parallel()
	fn := func(context.Context, string) error { return nil }
	c := watch.Offline(text)
	for name, tt := range map[string]struct {
		call func() error
		says string
	}{
		"no worker": {func() error { return watch.Reconcile(t.Context(), c, fn, watch.WithWorkers(0)) }, "watch: 0 workers: must be 1 or more"},
		"no back-off": {
			func() error { return watch.Reconcile(t.Context(), c, fn, watch.WithBackoff(0, time.Second)) },
			"watch: back-off from 0s to 1s",
		},
		"back-off that shrinks": {
			func() error {
				return watch.Reconcile(t.Context(), c, fn, watch.WithBackoff(time.Minute, time.Second))
			},
			"watch: back-off from 1m0s to 1s",
		},
		"negative period": {func() error { return watch.Reconcile(t.Context(), c, fn, watch.WithResync(-1)) }, "watch: resync period -1ns: must be positive"},
		"nil option":      {func() error { return watch.Reconcile(t.Context(), c, fn, nil) }, "watch: option is nil"},
		"nil function":    {func() error { return watch.Reconcile(t.Context(), c, nil) }, "watch: reconcile function is nil"},
		"nil cache":       {func() error { return watch.Reconcile[int](t.Context(), nil, fn) }, "watch: cache is nil"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tt.call()
			require.Error(t, err)
			require.True(t, strings.Contains(err.Error(), tt.says), err)
		})
	}
}

// TestReconcileConvergesUnderLoad changes keys at random while functions fail at
// random: in the end each key's last run has seen its last state.
func TestReconcileConvergesUnderLoad(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		var (
			mu   sync.Mutex
			seen = make(map[string]int64) // key to the revision it was last reconciled at; 0 if gone
			busy = make(map[string]bool)
			n    int
		)
		c := prepare(newStore())
		c.run(t, func(_ context.Context, key string) error {
			mu.Lock()
			require.False(t, busy[key])
			busy[key] = true
			n++
			fails, takes := n%3 == 0, time.Duration(n%7)*time.Millisecond
			mu.Unlock()
			item, _ := c.cache.Get(key)
			vtime.Sleep(takes)
			mu.Lock()
			defer mu.Unlock()
			busy[key] = false
			if fails {
				return errors.New("at random")
			}
			seen[key] = item.ModRevision
			return nil
		}, watch.WithWorkers(5), watch.WithBackoff(time.Millisecond, 100*time.Millisecond))
		for i := range 2000 {
			key := fmt.Sprint(i * 31 % 23)
			if i%5 == 0 && c.store.kvs[key] != nil {
				c.remove(key)
			} else {
				c.put(key, fmt.Sprint(i))
			}
			if i%10 == 0 {
				vtime.Sleep(time.Millisecond)
			}
		}
		vtime.Advance(time.Hour)
		mu.Lock()
		for key, revision := range seen {
			want := int64(0)
			if kv := c.store.kvs[key]; kv != nil {
				want = kv.ModRevision
			}
			require.Equal(t, want, revision, key)
		}
		require.Len(t, seen, 23)
		mu.Unlock()
		require.ErrorIs(t, c.end(), context.Canceled)
	})
}
