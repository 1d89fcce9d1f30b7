package lock_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

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

func TestLocalWaitersOfASessionThatDoesNotHealAreToldOfTheLoss(t *testing.T) {
	t.Parallel()
	for what, opt := range map[string]lock.Option{"hand-off": lock.WithLocalHandoff(9), "linger": lock.WithLinger(time.Second)} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				h := take(t, newParty(t, s).mutex(t))
				client := s.Client()
				session, err := lease.NewSession(t.Context(), client, lease.WithTTL(partyTTL), lease.WithoutHealing())
				require.NoError(t, err)
				l, err := session.Lease(t.Context())
				require.NoError(t, err)
				m, err := lock.NewMutex(session, "lock", opt)
				require.NoError(t, err)
				waiting := []<-chan outcome{soon(anHour(t), m.Lock), soon(anHour(t), m.Lock)}
				_, err = s.Client().Revoke(t.Context(), l.ID())
				require.NoError(t, err)
				for _, done := range waiting {
					require.ErrorIs(t, (<-done).err, lease.ErrLost)
				}
				_, err = m.Lock(anHour(t))
				require.ErrorIs(t, err, lease.ErrLost)
				unlock(t, h)
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
					for i := range 60 { // with half of them a turn that is lost has gone unnoticed
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

// A lease that is full has no place for another entry, but for one that takes the place of its own.
func TestAnEntryIsGivenUpAtTheLimitThoughNoLeaseIsGranted(t *testing.T) {
	t.Parallel()
	const keys = 256 // of locks that a lease carries
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p, other := newParty(t, s), newParty(t, s)
		m := p.mutex(t, lock.WithLocalHandoff(1))
		h := take(t, m)
		p.rec.Hook("LeaseGrant", func(ctx context.Context, _ any, _ func() error) error {
			<-ctx.Done()
			return ctx.Err()
		})
		for i := range keys - 1 {
			take(t, p.named(t, fmt.Sprintf("held/%d", i)))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.named(t, "held/too").Lock(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded, "it would need another lease")

		waiters, elsewhere := line(t, m, 2), soon(anHour(t), other.mutex(t).Lock)
		synctest.Wait()
		unlock(t, h)
		began := time.Now()
		unlock(t, granted(t, waiters[0])) // the last hand-off
		h = granted(t, elsewhere)
		stillWaits(t, waiters[1])
		unlock(t, h)
		unlock(t, granted(t, waiters[1]))
		require.Less(t, time.Since(began), time.Second)
	})
}
