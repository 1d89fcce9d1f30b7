package lock_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lock"
)

// roundTrips counts the round trips of a client.
func roundTrips(rec *etcdtest.Recorder) int { return rec.Count("Txn") + rec.Count("Range") }

func TestManyWhoTryASemaphoreCostNoMoreThanOneByOne(t *testing.T) {
	t.Parallel()
	const callers = 100
	for _, permits := range []int{callers * 10, callers / 2} {
		t.Run(fmt.Sprint(permits), func(t *testing.T) {
			t.Parallel()
			c := etcdtest.New(t)
			p := newPeer(t, c, withTTL(calm))
			s, err := lock.NewSemaphore(p.Session, c.Prefix(t)+"s", permits)
			require.NoError(t, err)
			p.Rec.Reset()
			var wg sync.WaitGroup
			var mu sync.Mutex
			var held []*lock.Hold
			for range callers {
				wg.Go(func() {
					h, err := s.TryAcquire(guarded(t), 1)
					if err != nil {
						require.ErrorIs(t, err, lock.ErrLocked)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					held = append(held, h)
				})
			}
			wg.Wait()
			cost := roundTrips(p.Rec)
			t.Logf("%d callers, %d permits: %d round trips, %d held", callers, permits, cost, len(held))
			if permits > callers {
				require.Len(t, held, callers, "nobody is in anybody's way")
				require.Equal(t, 2*callers, cost)
			} else {
				require.Len(t, held, permits)
				require.LessOrEqual(t, cost, 5*callers)
			}
			for _, h := range held {
				unlock(t, h)
			}
		})
	}
}

// An attempt that loses its race leaves nothing.
func TestTryAcquireThatIsOvertakenGivesUpItsPlace(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, q, name := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), c.Prefix(t)+"s"
	mine, err := lock.NewSemaphore(p.Session, name, 3)
	require.NoError(t, err)
	theirs, err := lock.NewSemaphore(q.Session, name, 3)
	require.NoError(t, err)
	var h *lock.Hold
	var once sync.Once
	p.Rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		if putsSomething(asTxn(req)) {
			once.Do(func() { h, err = theirs.Acquire(guarded(t), 2) })
		}
		return invoke()
	})
	_, taken := mine.TryAcquire(guarded(t), 2)
	require.NoError(t, err)
	require.ErrorIs(t, taken, lock.ErrLocked)
	entries, err := lock.Inspect(guarded(t), p.Client, name)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	one, err := mine.TryAcquire(guarded(t), 1)
	require.NoError(t, err)
	unlock(t, one)
	unlock(t, h)
}
