package lock_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lock"
)

func TestLocalHandoffsCostNothingUntilTheirLimitAndThenOneTransaction(t *testing.T) {
	t.Parallel()
	const limit = 3
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		values := []*lock.Mutex{p.mutex(t, lock.WithLocalHandoff(limit)), p.mutex(t, lock.WithLocalHandoff(limit))}
		h := take(t, values[0])
		var waiters []<-chan outcome
		for i := range 2*limit + 2 {
			waiters = append(waiters, soon(anHour(t), values[i%2].Lock))
		}
		requireEntries(t, s, 1)
		for i, w := range waiters {
			p.rec.Reset()
			unlock(t, h)
			next := granted(t, w)
			require.Greater(t, next.Token(), h.Token())
			sequence := (i + 1) % (limit + 1)
			require.Equal(t, sequence, next.Token().Sequence())
			if sequence > 0 {
				require.Empty(t, p.rec.Calls(), "a hand-off in memory")
				require.Equal(t, h.Token().Revision(), next.Token().Revision())
			} else {
				require.Equal(t, tally{writes: 1}, sent(p.rec), "given up and queued for again, at once")
				require.Greater(t, next.Token().Revision(), h.Token().Revision())
			}
			requireEntries(t, s, 1)
			h = next
		}
		p.rec.Reset()
		unlock(t, h)
		require.Equal(t, tally{writes: 1}, sent(p.rec))
		requireKeys(t, s, "lock")
	})
}

func TestGoroutinesOfAProcessAreServedInTheOrderOfTheirCalls(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		m, other := newParty(t, s).mutex(t, lock.WithLocalHandoff(2)), newParty(t, s).mutex(t, lock.WithLocalHandoff(2))
		h := take(t, m)
		waiters, others := line(t, m, 10), line(t, other, 10)
		unlock(t, h)
		var order []int
		for len(order) < 20 {
			synctest.Wait()
			for i, w := range slices.Concat(waiters, others) {
				if len(w) > 0 {
					order = append(order, i)
					unlock(t, granted(t, w))
					break
				}
			}
		}
		require.Equal(t, []int{0, 1, 10, 11, 12, 2, 3, 4, 13, 14, 15, 5, 6, 7, 16, 17, 18, 8, 9, 19}, order)
		requireKeys(t, s, "lock")
	})
}

func TestTwoProcessesNeverWaitForMoreThanTheLimitOfEachOther(t *testing.T) {
	t.Parallel()
	const limit, each, grants = 7, 32, 1000
	c := etcdtest.New(t)
	name, ctx := c.Prefix(t)+"m", guarded(t)
	inside := section{t: t}
	var by []int // protected by the lock
	var all sync.WaitGroup
	for i, p := range newPeers(t, c, 2, withTTL(calm)) {
		for range each {
			m := p.mutex(t, name, lock.WithLocalHandoff(limit))
			all.Go(func() {
				for over := false; !over; {
					err := m.Do(ctx, func(_ context.Context, h *lock.Hold) error {
						inside.visit(h)
						by = append(by, i)
						over = len(by) >= grants
						return nil
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	all.Wait()
	runs := lengths(by)
	runs = runs[1 : len(runs)-1] // the other had not come yet, or had left
	t.Logf("%d grants in %d turns, of up to %d", len(by), len(runs), slices.Max(runs))
	require.LessOrEqual(t, slices.Max(runs), limit+1)
	require.Greater(t, len(runs), grants/(limit+1)/2)
	awaitQueue(t, c.Client(t), name, 0)
}

// lengths returns how often each element comes in a row.
func lengths(of []int) (runs []int) {
	for i, x := range of {
		if i == 0 || of[i-1] != x {
			runs = append(runs, 0)
		}
		runs[len(runs)-1]++
	}
	return runs
}

func TestUnlockOfAnEntryThatIsHandedOnIsIdempotent(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		m := p.mutex(t, lock.WithLocalHandoff(9))
		h := take(t, m)
		waiters := line(t, m, 3)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { unlock(t, h) })
		}
		all.Wait()
		next := granted(t, waiters[0])
		synctest.Wait()
		stillWaits(t, waiters[1])
		unlock(t, h)
		synctest.Wait()
		require.NoError(t, next.Err(), "not the next holder's")
		stillWaits(t, waiters[1])

		done, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, next.Unlock(done), "handed on in memory, there is nothing to wait for")
		next = granted(t, waiters[1])
		_ = next.Guard() // so that it has to be given up
		require.ErrorIs(t, next.Unlock(done), context.Canceled)
		require.ErrorIs(t, next.Err(), lock.ErrReleased)
		last := granted(t, waiters[2])
		require.NoError(t, next.Unlock(t.Context()), "waits again, and is told")
		require.ErrorIs(t, last.Unlock(done), context.Canceled)
		synctest.Wait()
		requireKeys(t, s, "lock")
	})
}

func TestAHoldIsOfNoUseOnceItsEntryWasHandedOn(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		m := p.mutex(t, lock.WithLocalHandoff(9))
		h := take(t, m)
		type key struct{}
		derived, cancel := h.With(context.WithValue(t.Context(), key{}, "value"))
		defer cancel()
		next := make(chan error, 1)
		go func() {
			n, err := m.Lock(context.WithValue(anHour(t), key{}, "the next one's"))
			// Whoever relies on the one before knows that it is over.
			next <- errors.Join(err, derived.Err(), h.Context().Err(), h.Err())
			next <- n.Err()
			_, err = n.Txn(t.Context()).If(h.Guard()...).Then(clientv3.OpPut("k", "stale")).Commit()
			next <- err
			next <- n.Unlock(t.Context())
		}()
		synctest.Wait()
		token, entry := h.Token(), h.Key()
		unlock(t, h)
		before := <-next
		require.ErrorIs(t, before, context.Canceled)
		require.ErrorIs(t, before, lock.ErrReleased)
		for range 3 {
			require.NoError(t, <-next)
		}
		requireKeys(t, s, "k")

		require.Equal(t, token, h.Token())
		require.Equal(t, entry, h.Key())
		require.ErrorIs(t, context.Cause(derived), lock.ErrReleased)
		require.LessOrEqual(t, h.Remaining(), time.Duration(0))
		require.False(t, h.Deadline().After(time.Now()))
		p.rec.Reset()
		_, err := h.Txn(t.Context()).Then(clientv3.OpPut("k", "late")).Commit()
		require.ErrorIs(t, err, lock.ErrReleased)
		require.Empty(t, p.rec.Calls())
		late, stop := h.With(t.Context())
		defer stop()
		require.ErrorIs(t, context.Cause(late), lock.ErrReleased)
	})
}

func TestAPanicHandsTheLockOn(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		m := p.mutex(t, lock.WithLocalHandoff(9))
		var next <-chan outcome
		require.PanicsWithValue(t, "so what", func() {
			_ = m.Do(t.Context(), func(context.Context, *lock.Hold) error {
				next = soon(anHour(t), m.Lock)
				panic("so what")
			})
		})
		h := granted(t, next)
		require.Equal(t, 1, h.Token().Sequence())
		unlock(t, h)
		requireKeys(t, s, "lock")
	})
}

func TestObserversHearOfEachHoldOnceAndNotOfTheIdleEntry(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p, other := newParty(t, s), newParty(t, s)
		m := p.mutex(t, lock.WithLocalHandoff(1), lock.WithLinger(time.Second))
		h := take(t, m)
		waiters := line(t, m, 2) // the second is beyond the limit
		require.Equal(t, []string{"granted"}, p.heard())
		unlock(t, h)
		h = granted(t, waiters[0])
		require.Equal(t, []string{"granted", "released", "granted"}, p.heard())
		unlock(t, h)
		unlock(t, granted(t, waiters[1]))
		require.Len(t, p.heard(), 6)
		unlock(t, take(t, m)) // from its lingering
		require.Len(t, p.heard(), 8)
		vtime.Advance(time.Minute) // it is given up
		require.Len(t, p.heard(), 8)
		h, err := m.TryLock(t.Context())
		require.NoError(t, err)
		require.Len(t, p.heard(), 9)
		losses()["its key deleted"](t, p, h)
		vtime.Advance(partyTTL)
		require.Equal(t, []string{"granted", "lost"}, p.heard()[8:])
		unlock(t, take(t, m))
		losses()["its lease revoked"](t, p, nil) // while it lingers
		vtime.Advance(partyTTL)
		require.Len(t, p.heard(), 12)
		require.Empty(t, other.heard())
	})
}
