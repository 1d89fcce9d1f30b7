package lock_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
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

func TestLocalWaiterLeavesWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	why := errors.New("why")
	for what, held := range map[string]bool{"while its process holds": true, "while its process waits": false} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				p, other := newParty(t, s), newParty(t, s)
				m := p.mutex(t, lock.WithLocalHandoff(9))
				holder := other.mutex(t)
				if held {
					holder = m
				}
				h := take(t, holder)
				ctx, cancel := context.WithCancelCause(anHour(t))
				before := soon(anHour(t), m.Lock)
				leaves := soon(ctx, m.Lock)
				after := soon(anHour(t), m.Lock)
				was := entries(t, s)
				cancel(why)
				o := <-leaves
				require.ErrorIs(t, o.err, context.Canceled)
				require.ErrorIs(t, o.err, why)
				require.ErrorContains(t, o.err, `lock: locking "lock": `)
				synctest.Wait()
				require.Equal(t, keys(was), keys(entries(t, s)), "the others keep their place")
				unlock(t, h)
				unlock(t, granted(t, before))
				unlock(t, granted(t, after))
				requireKeys(t, s, "lock")
			})
		})
	}
}

func TestNothingIsLeftWhenAllLocalWaitersLeave(t *testing.T) {
	t.Parallel()
	for what, again := range map[string]bool{"for good": false, "and one comes back": true} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				m, other := newParty(t, s).mutex(t, lock.WithLocalHandoff(9), lock.WithLinger(time.Minute)), newParty(t, s).mutex(t)
				h := take(t, other)
				ctx, cancel := context.WithCancel(anHour(t))
				first, second := soon(ctx, m.Lock), soon(ctx, m.Lock)
				requireEntries(t, s, 2)
				cancel()
				var back <-chan outcome
				if again {
					back = soon(anHour(t), m.Lock)
				}
				require.ErrorIs(t, (<-first).err, context.Canceled)
				require.ErrorIs(t, (<-second).err, context.Canceled)
				synctest.Wait()
				if !again {
					requireKeys(t, s, "lock", h.Key())
				}
				unlock(t, h)
				if again {
					requireEntries(t, s, 1)
					unlock(t, granted(t, back))
					vtime.Advance(2 * time.Minute)
				}
				requireKeys(t, s, "lock")
			})
		})
	}
}

// An entry that arrives when those for whom it was got have left goes to whoever has
// come since, or away.
func TestContextsThatEndAtTheVeryMomentOfTheGrant(t *testing.T) {
	t.Parallel()
	for what, opts := range map[string][]lock.Option{
		"hand-off": {lock.WithLocalHandoff(1000)},
		"limit":    {lock.WithLocalHandoff(1)},
		"linger":   {lock.WithLinger(time.Second)},
	} {
		for _, held := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, held by the process: %v", what, held), func(t *testing.T) {
				t.Parallel()
				vtime.Run(t, func(t *testing.T, s *vtime.Server) {
					m, other := newParty(t, s).mutex(t, opts...), newParty(t, s).mutex(t)
					granted, failed := 0, 0
					for i := range 60 {
						holder := other
						if held {
							holder = m
						}
						h := take(t, holder)
						ctx, cancel := context.WithCancel(anHour(t))
						done := soon(ctx, m.Lock)
						var both sync.WaitGroup
						both.Go(func() { unlock(t, h) })
						for range i % 30 {
							runtime.Gosched()
						}
						both.Go(cancel)
						both.Wait()
						if o := <-done; o.err == nil {
							granted++
							unlock(t, o.hold)
						} else {
							failed++
							require.ErrorIs(t, o.err, context.Canceled)
						}
						unlock(t, take(t, m))
						unlock(t, take(t, other))
					}
					t.Logf("%d granted, %d not", granted, failed)
					vtime.Advance(time.Minute)
					requireKeys(t, s, "lock")
				})
			})
		}
	}
}

func TestLocalWaitersAreServedAfterTheHolderIsLost(t *testing.T) {
	t.Parallel()
	eachVirtually(t, losses(), func(t *testing.T, s *vtime.Server, lose func(*testing.T, *party, *lock.Hold)) {
		t.Helper()
		p := newParty(t, s)
		m := p.mutex(t, lock.WithLocalHandoff(9))
		h := take(t, m)
		unlock(t, h)
		unlock(t, take(t, m))
		h = take(t, m)
		waiters := line(t, m, 3)
		lose(t, p, h)
		highest := h.Token()
		for _, w := range waiters {
			next := granted(t, w)
			lost(t, h)
			require.Greater(t, next.Token(), highest)
			require.Greater(t, next.Token().Revision(), h.Token().Revision())
			highest = next.Token()
			requireEntries(t, s, 1)
			unlock(t, next)
		}
		require.ErrorIs(t, h.Unlock(t.Context()), lock.ErrLost)
		requireKeys(t, s, "lock")
	})
}

// The loss is noticed by the next holder's own actions, too: here by its transaction.
func TestLossNoticedByATransactionServesTheLocalWaiters(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		m := p.mutex(t, lock.WithLocalHandoff(9), lock.WithLinger(time.Minute))
		h := take(t, m)
		waiters := line(t, m, 2)
		losses()["its key deleted"](t, p, h)
		_, err := h.Txn(t.Context()).Then(clientv3.OpPut("k", "v")).Commit()
		require.ErrorIs(t, err, lock.ErrLost)
		began := time.Now()
		for _, w := range waiters {
			unlock(t, granted(t, w))
		}
		require.Equal(t, began, time.Now(), "at once")
	})
}

func TestLocalWaitersFailWhenTheSessionEnds(t *testing.T) {
	t.Parallel()
	eachVirtually(t, map[string]func(*testing.T, *party){
		"session closed": func(t *testing.T, p *party) { t.Helper(); require.NoError(t, p.session.Close(t.Context())) },
		"client closed":  func(t *testing.T, p *party) { t.Helper(); require.NoError(t, p.client.Close()) },
	}, func(t *testing.T, s *vtime.Server, end func(*testing.T, *party)) {
		t.Helper()
		for _, held := range []bool{true, false} {
			p, other := newParty(t, s), newParty(t, s)
			m := p.mutex(t, lock.WithLocalHandoff(9), lock.WithLinger(time.Second))
			holder := other.mutex(t)
			if held {
				holder = m
			}
			h := take(t, holder)
			waiters := line(t, m, 3)
			end(t, p)
			began := time.Now()
			for _, w := range waiters {
				require.ErrorIs(t, await(t, w, "Lock returns").err, lease.ErrClosed)
			}
			require.Equal(t, began, time.Now(), "at once")
			if held {
				lost(t, h)
			}
			for _, take := range []taker{m.Lock, m.TryLock} {
				_, err := take(t.Context())
				require.ErrorIs(t, err, lease.ErrClosed)
			}
			require.NoError(t, p.session.Close(t.Context()))
			if !held {
				unlock(t, h)
			}
			vtime.Advance(2 * partyTTL) // a closed client's keys expire
			requireKeys(t, s, "lock")
		}
	})
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

func TestTryLockInEachStateOfTheProcess(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p, other := newParty(t, s), newParty(t, s)
		m := p.mutex(t, lock.WithLocalHandoff(9), lock.WithLinger(time.Minute), lock.WithOwner("us"))
		refused := func(by string) lock.LockedError {
			_, err := m.TryLock(t.Context())
			e, ok := errors.AsType[*lock.LockedError](err)
			require.True(t, ok, "%v", err)
			require.ErrorIs(t, err, lock.ErrLocked)
			require.Equal(t, by, e.Owner)
			require.Equal(t, "lock", e.Name)
			return *e
		}
		// Vacant, and the lock is free.
		h, err := m.TryLock(t.Context())
		require.NoError(t, err)
		first := h.Token()
		// Held.
		p.rec.Reset()
		e := refused("us")
		require.Equal(t, h.Key(), e.Key)
		require.Equal(t, h.Token(), e.Token)
		// Held, with a waiter.
		waiter := soon(anHour(t), m.Lock)
		refused("us")
		unlock(t, h)
		unlock(t, granted(t, waiter))
		// Lingering.
		h, err = m.TryLock(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, h.Token().Sequence())
		require.Equal(t, first.Revision(), h.Token().Revision())
		require.Zero(t, sent(p.rec).writes)
		unlock(t, h)
		// Vacant, and another process has the lock.
		h = take(t, other.mutex(t, lock.WithOwner("them")))
		revision := s.Etcd().KV().Rev()
		e = refused("them")
		require.Equal(t, h.Key(), e.Key)
		require.Equal(t, revision, s.Etcd().KV().Rev(), "nothing is stored")
		// Acquiring.
		waiter = soon(anHour(t), m.Lock)
		p.rec.Reset()
		refused("us")
		require.Empty(t, p.rec.Calls())
		unlock(t, h)
		unlock(t, granted(t, waiter))
		// With a context that is done.
		done, cancel := context.WithCancel(t.Context())
		cancel()
		for _, take := range []taker{m.Lock, m.TryLock} {
			_, err = take(done)
			require.ErrorIs(t, err, context.Canceled)
			require.NotErrorIs(t, err, lock.ErrLocked)
		}
	})
}

func TestWaitersComeWhileTryLockAsksEtcd(t *testing.T) {
	t.Parallel()
	for what, taken := range map[string]bool{"free": false, "taken": true} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				p, other := newParty(t, s), newParty(t, s)
				m := p.mutex(t, lock.WithLocalHandoff(9))
				var h *lock.Hold
				if taken {
					h = take(t, other.mutex(t))
				}
				p.cut.HoldToServer()
				try := soon(anHour(t), m.TryLock)
				waiters := line(t, m, 2)
				p.cut.Heal()
				o := <-try
				if taken {
					require.ErrorIs(t, o.err, lock.ErrLocked)
				} else {
					h = o.hold
				}
				unlock(t, h)
				for _, w := range waiters {
					unlock(t, granted(t, w))
				}
				requireKeys(t, s, "lock")
			})
		})
	}
}

// A lease that has ended is found out when the lock is to be granted, at the latest.
func TestTryLockTakesAnotherLeaseWhenItsOwnHasEnded(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		m := p.mutex(t, lock.WithLinger(time.Minute))
		first := take(t, m)
		unlock(t, first)
		losses()["its lease revoked"](t, p, first)
		vtime.Advance(partyTTL) // noticed
		h, err := m.TryLock(t.Context())
		require.NoError(t, err)
		require.Greater(t, h.Token().Revision(), first.Token().Revision())
		unlock(t, h)

		_, err = p.client.Revoke(t.Context(), p.lease(t)) // not noticed
		require.NoError(t, err)
		h = take(t, m)
		waiter := soon(anHour(t), m.Lock)
		lost(t, h)
		unlock(t, granted(t, waiter))
	})
}

func TestRefusalsReachEveryLocalWaiter(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		m := p.mutex(t, lock.WithLocalHandoff(9))
		refusal := errors.New("refused")
		remove := p.rec.Hook("Txn", func(context.Context, any, func() error) error { return refusal })
		p.cut.HoldToServer()
		waiters := line(t, m, 3)
		p.cut.Heal()
		for _, w := range waiters {
			require.ErrorContains(t, (<-w).err, `lock: locking "lock": `)
		}
		remove()
		unlock(t, take(t, m))
	})
}

func TestOptionsOfOneNameHaveToAgree(t *testing.T) {
	t.Parallel()
	p := newPeer(t, etcdtest.New(t), withTTL(calm))
	inUse := p.mutex(t, "m", lock.WithLocalHandoff(3), lock.WithOwner("o"))
	for _, opts := range [][]lock.Option{
		{lock.WithLocalHandoff(4), lock.WithOwner("o")},
		{lock.WithLocalHandoff(3), lock.WithOwner("other")},
		{lock.WithLocalHandoff(3), lock.WithOwner("o"), lock.WithLinger(time.Second)},
		{lock.WithLocalHandoff(3), lock.WithOwner("o"), lock.WithLockDelay(time.Second)},
	} {
		_, err := lock.NewMutex(p.Session, "m", opts...)
		require.ErrorContains(t, err, `lock: mutex "m" of this session is in use with 3 local hand-offs, 0s of lingering, a lock delay of 0s and owner "o"`)
		require.ErrorContains(t, err, "it cannot have ")
	}
	_, err := lock.NewMutex(p.Session, "m", lock.WithLinger(time.Second), lock.WithLockDelay(2*time.Second), lock.WithOwner("x"))
	require.ErrorContains(t, err, `it cannot have 0 local hand-offs, 1s of lingering, a lock delay of 2s and owner "x"`)
	p.mutex(t, "m", lock.WithLocalHandoff(3), lock.WithOwner("o"))
	p.mutex(t, "m/other", lock.WithLocalHandoff(4))
	p.mutex(t, "m", lock.WithOwner("plain"))
	runtime.KeepAlive(inUse)
}

func TestOptionsOutOfRangeAreRefused(t *testing.T) {
	t.Parallel()
	p := newPeer(t, etcdtest.New(t), withTTL(calm))
	for want, opt := range map[string]lock.Option{
		"lock: 0 local hand-offs: must be from 1 to 524287":             lock.WithLocalHandoff(0),
		"lock: -1 local hand-offs: must be from 1 to 524287":            lock.WithLocalHandoff(-1),
		"lock: 524288 local hand-offs: must be from 1 to 524287":        lock.WithLocalHandoff(lock.MaxHandoffs + 1),
		"lock: linger of 0s: must be from 1ms to 1m0s":                  lock.WithLinger(0),
		"lock: linger of 1m0.000000001s: must be from 1ms to 1m0s":      lock.WithLinger(lock.MaxLinger + 1),
		"lock: lock delay of 999.999999ms: must be from 1s to 5m0s":     lock.WithLockDelay(time.Second - 1),
		"lock: lock delay of 5m0.000000001s: must be from 1s to 5m0s":   lock.WithLockDelay(lock.MaxLockDelay + 1),
		"lock: lock delay of -2562047h47m16.854775808s: must be from 1": lock.WithLockDelay(-1 << 63),
	} {
		_, err := lock.NewMutex(p.Session, "m", opt)
		require.ErrorContains(t, err, want)
	}
	for name, opt := range map[string]lock.Option{
		"WithLocalHandoff": lock.WithLocalHandoff(1), "WithLinger": lock.WithLinger(time.Second), "WithLockDelay": lock.WithLockDelay(time.Second),
	} {
		_, err := lock.NewMutex(p.Session, "m", opt, lock.WithEtcdLayout())
		require.ErrorContains(t, err, "lock: options WithEtcdLayout and "+name)
		_, err = lock.NewRWMutex(p.Session, "m", opt)
		require.ErrorContains(t, err, "lock: option "+name+" given to a rwmutex: it is for a mutex only")
		_, err = lock.NewSemaphore(p.Session, "m", 1, opt)
		require.ErrorContains(t, err, name)
		_, err = lock.NewMulti(p.Session, []string{"m"}, opt)
		require.ErrorContains(t, err, name)
	}
}

func TestAProcessForgetsNamesThatItDoesNotUseAnyMore(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, prefix := newPeer(t, c, withTTL(calm)), c.Prefix(t)
	shared := func() (n int) {
		p.Session.Shared().Range(func(any, any) bool { n++; return true })
		return n
	}
	kept := p.mutex(t, prefix+"kept", lock.WithLocalHandoff(3))
	held := p.lock(t, prefix+"held", lock.WithLocalHandoff(3))
	unlock(t, p.lock(t, prefix+"lingers", lock.WithLinger(time.Millisecond)))
	for i := range 20 {
		unlock(t, p.lock(t, fmt.Sprintf("%sm%d", prefix, i), lock.WithLocalHandoff(3), lock.WithLinger(time.Millisecond)))
	}
	eventually(t, func() bool { runtime.GC(); return shared() == 2 }, "all but two are forgotten")
	_, err := lock.NewMutex(p.Session, prefix+"held", lock.WithLocalHandoff(4))
	require.ErrorContains(t, err, "in use", "its hold uses it")
	unlock(t, held)
	runtime.KeepAlive(kept)
	eventually(t, func() bool { runtime.GC(); return shared() == 0 }, "all are forgotten")
	p.mutex(t, prefix+"held", lock.WithLocalHandoff(4))
}

func TestMutexWithHandoffWorksBesideAPlainOneOfTheSameSession(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, ctx := c.Prefix(t)+"m", guarded(t)
	p, other := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
	inside := section{t: t}
	var all sync.WaitGroup
	for _, m := range []*lock.Mutex{
		p.mutex(t, name), p.mutex(t, name, lock.WithLocalHandoff(3), lock.WithLinger(time.Second)),
		other.mutex(t, name), other.mutex(t, name, lock.WithLinger(2*time.Second)),
	} {
		for range 3 {
			all.Go(func() {
				for range 10 {
					if err := m.Do(ctx, func(_ context.Context, h *lock.Hold) error { inside.visit(h); return nil }); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	require.Equal(t, 120, inside.count())
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
