package watch_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/watch"
)

// modelKey is what must hold of one key in a work queue.
type modelKey struct {
	ready, running, again bool
	failed                int
	due                   time.Time // when a failed key is ready by itself; zero if it does not wait
	ended                 time.Time // when it failed
}

// TestQueueMatchesAModel adds, takes and finishes keys at random, in virtual time,
// and compares the queue with a model.
func TestQueueMatchesAModel(t *testing.T) {
	t.Parallel()
	const shortest, longest = 100 * time.Millisecond, 4 * time.Second
	rapid.Check(t, func(rt *rapid.T) {
		bubble.Test(t, func(*testing.T) {
			q := watch.NewQueue(shortest, longest)
			defer q.Stop()
			model := make(map[string]*modelKey)
			var order []string // ready keys, the longest waiting first
			push := func(key string) {
				model[key].ready = true
				order = append(order, key)
			}
			keys := rapid.SampledFrom([]string{"a", "b", "c", "d"})
			rt.Repeat(map[string]func(*rapid.T){
				"add": func(t *rapid.T) {
					key := keys.Draw(t, "key")
					q.Add(key)
					m := model[key]
					switch {
					case m == nil:
						model[key] = &modelKey{}
						push(key)
					case m.running:
						m.again = true
					case !m.ready && time.Since(m.ended) >= time.Second: // else it may be the run's own
						m.due = time.Time{}
						push(key)
					}
				},
				"take": func(t *rapid.T) {
					if len(order) == 0 {
						return
					}
					key, ok := q.Take()
					require.True(t, ok)
					require.Equal(t, order[0], key, "first come, first served")
					require.False(t, model[key].running, "never two runs of a key at once")
					model[key].ready, model[key].running = false, true
					order = order[1:]
				},
				"finish": func(t *rapid.T) {
					key := keys.Draw(t, "key")
					m := model[key]
					if m == nil || !m.running {
						return
					}
					var err error
					if rapid.Bool().Draw(t, "fails") {
						err = errors.New("failed")
					}
					failed, pause := q.Finish(key, err)
					again := m.again
					m.running, m.again = false, false
					m.failed++
					if err == nil {
						m.failed = 0
					}
					require.Equal(t, m.failed, failed)
					switch {
					case err != nil:
						full := min(shortest<<(failed-1), longest)
						require.LessOrEqual(t, pause, full)
						require.GreaterOrEqual(t, pause, full/2)
						m.ended, m.due = time.Now(), time.Now().Add(pause)
					case again:
						require.Zero(t, pause)
						push(key)
					default:
						require.Zero(t, pause)
						delete(model, key)
					}
				},
				"time passes": func(t *rapid.T) {
					// One key's wait at a time, so that the order is known.
					var next string
					for key, m := range model {
						if !m.due.IsZero() && (next == "" || m.due.Before(model[next].due)) {
							next = key
						}
					}
					if next == "" {
						return
					}
					for key, m := range model {
						if key != next && m.due.Equal(model[next].due) {
							t.Skip("two keys are due at the same instant")
						}
					}
					vtime.Advance(time.Until(model[next].due))
					model[next].due = time.Time{}
					push(next)
				},
				"": func(t *rapid.T) {
					require.Equal(t, len(model), q.Len(), "a key that is done is forgotten")
					require.Equal(t, len(order) > 0, q.Ready())
				},
			})
		})
	})
}

func TestStoppedQueueHandsOutNothing(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		q := watch.NewQueue(time.Second, time.Second)
		q.Add("waits for a retry")
		key, ok := q.Take()
		require.True(t, ok)
		_, pause := q.Finish(key, errors.New("failed"))
		require.Positive(t, pause)
		ended := make(chan bool)
		go func() {
			_, ok := q.Take()
			ended <- ok
		}()
		synctest.Wait()
		q.Stop()
		require.False(t, <-ended, "who waits is told")
		q.Add("too late")
		vtime.Advance(time.Hour)
		_, ok = q.Take()
		require.False(t, ok)
	})
}
