package lock_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lock"
)

// marker is the key that tells of an owner who was lost.
const marker = "lock/~delay/mutex"

func TestALockDelayCostsNothingWhenFreeAndOneWriteMoreAfterWaiting(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p, other := newParty(t, s), newParty(t, s)
		began := time.Now()
		m, n := p.mutex(t, lock.WithLockDelay(time.Minute)), other.mutex(t, lock.WithLockDelay(time.Minute))
		for _, m := range []*lock.Mutex{m, n} { // the first of a session's lease has one granted for marks
			unlock(t, take(t, m))
		}
		for _, acquire := range []taker{m.Lock, m.TryLock} {
			p.rec.Reset()
			h, err := acquire(t.Context())
			require.NoError(t, err)
			require.Equal(t, tally{writes: 1}, sent(p.rec))
			requireKeys(t, s, "lock", h.Key(), marker)
			waiter := soon(anHour(t), n.Lock)
			p.rec.Reset()
			other.rec.Reset()
			unlock(t, h)
			require.Equal(t, tally{writes: 1}, sent(p.rec))
			h = granted(t, waiter)
			require.Equal(t, tally{writes: 1}, sent(other.rec), "the mark")
			requireKeys(t, s, "lock", h.Key(), marker)
			unlock(t, h)
			requireKeys(t, s, "lock")
		}
		require.Equal(t, began, time.Now(), "nobody has waited")
	})
}

// loss is when the holder's key went away.
func loss(t *testing.T, s *vtime.Server, h *lock.Hold) <-chan time.Time {
	t.Helper()
	at := make(chan time.Time, 1)
	events := s.Client().Watch(t.Context(), h.Key(), clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	<-events
	go func() {
		if resp := <-events; len(resp.Events) > 0 {
			at <- time.Now()
		}
	}()
	return at
}

// everyLoss is all ways in which a hold ends without an Unlock.
func everyLoss() map[string]func(*testing.T, *party, *lock.Hold) {
	all := losses()
	all["its process killed"] = func(t *testing.T, p *party, _ *lock.Hold) {
		t.Helper()
		p.cut.Cut()
	}
	all["its session closed"] = func(t *testing.T, p *party, _ *lock.Hold) {
		t.Helper()
		require.NoError(t, p.session.Close(t.Context()))
	}
	return all
}

// latest is how long after a loss the delay is over at the latest for somebody who was not there: it is counted from the
// loss exactly where the lease expired. Where it was revoked, or the key deleted, the owner finds out within a third of its
// TTL; who closes its session with the lock held leaves it to the end of the TTL. Leases have whole seconds, and etcd looks
// twice a second.
func latest(what string, d time.Duration) time.Duration {
	switch what {
	case "its session closed":
		return d + partyTTL + 2*time.Second
	case "its lease revoked", "its key deleted":
		return d + partyTTL/3 + 2*time.Second
	}
	return d + 2*time.Second
}

func TestTheNextHolderWaitsForTheDelayAfterALoss(t *testing.T) {
	t.Parallel()
	const d = 17 * time.Second
	for what, end := range everyLoss() {
		for when, late := range map[string]time.Duration{"who waits": 0, "soon after": d / 3, "late": 2 * d / 3, "last": d - time.Second} {
			t.Run(what+", "+when, func(t *testing.T) {
				t.Parallel()
				vtime.Run(t, func(t *testing.T, s *vtime.Server) {
					p, q, r := newParty(t, s), newParty(t, s), newParty(t, s)
					h := take(t, p.mutex(t, lock.WithLockDelay(d)))
					vtime.Advance(7 * partyTTL) // renewed as long as it is held
					at := loss(t, s, h)
					m := q.mutex(t, lock.WithLockDelay(d))
					var first <-chan outcome
					if late == 0 {
						first = soon(anHour(t), m.Lock)
					}
					end(t, p, h)
					died := await(t, at, "the key goes")
					if late > 0 {
						vtime.Sleep(late)
						first = soon(anHour(t), m.Lock)
					}
					second := soon(anHour(t), r.mutex(t, lock.WithLockDelay(d)).Lock)
					next := granted(t, first)
					if late == 0 {
						require.Equal(t, d, time.Since(died))
					}
					require.GreaterOrEqual(t, time.Since(died), d)
					require.LessOrEqual(t, time.Since(died), latest(what, d))
					over := time.Now()
					unlock(t, next)
					unlock(t, granted(t, second))
					require.Equal(t, over, time.Now(), "after an Unlock nobody waits")
					requireKeys(t, s, "lock")
				})
			})
		}
	}
}

func TestTryLockFindsTheLockTakenForTheDelayAfterALoss(t *testing.T) {
	t.Parallel()
	const d = 17 * time.Second
	eachVirtually(t, everyLoss(), func(t *testing.T, s *vtime.Server, end func(*testing.T, *party, *lock.Hold)) {
		t.Helper()
		p, q := newParty(t, s), newParty(t, s)
		h := take(t, p.mutex(t, lock.WithLockDelay(d), lock.WithOwner("the lost")))
		at := loss(t, s, h)
		end(t, p, h)
		died := await(t, at, "the key goes")
		m := q.mutex(t, lock.WithLockDelay(d))
		unlock(t, take(t, q.named(t, "another", lock.WithLockDelay(d)))) // has the lease granted
		for {
			revision := s.Etcd().KV().Rev()
			q.rec.Reset()
			next, err := m.TryLock(t.Context())
			if err == nil {
				unlock(t, next)
				break
			}
			e := &lock.LockedError{}
			require.ErrorAs(t, err, &e)
			require.Equal(t, "the lost", e.Owner)
			synctest.Wait()
			if time.Since(died) > partyTTL/3 { // else the owner may have something to write
				require.Equal(t, revision, s.Etcd().KV().Rev(), "nothing is stored")
			}
			require.Equal(t, tally{writes: 1}, sent(q.rec))
			vtime.Advance(250 * time.Millisecond)
			require.Less(t, time.Since(died), 3*d, "it has to end")
		}
		t.Logf("%v after the loss", time.Since(died))
		require.GreaterOrEqual(t, time.Since(died), d)
		require.LessOrEqual(t, time.Since(died), d+time.Second)
		requireKeys(t, s, "lock")
	})
}

// Whatever callers do: each of these comes anew, and none stays for the delay.
func TestTheDelayIsOverAlthoughNobodyWaitsForAllOfIt(t *testing.T) {
	t.Parallel()
	const d = 30 * time.Second
	for what, end := range everyLoss() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				p := newParty(t, s)
				h := take(t, p.mutex(t, lock.WithLockDelay(d)))
				at := loss(t, s, h)
				end(t, p, h)
				died := await(t, at, "the key goes")
				for {
					q := newParty(t, s) // with a memory of its own
					ctx, cancel := context.WithTimeout(t.Context(), d/3)
					next, err := q.mutex(t, lock.WithLockDelay(d)).Lock(ctx)
					cancel()
					if err == nil {
						unlock(t, next)
						break
					}
					require.Less(t, time.Since(died), 3*d, "it has to end")
					_ = q.session.Close(t.Context())
				}
				require.GreaterOrEqual(t, time.Since(died), d)
				require.LessOrEqual(t, time.Since(died), latest(what, d))
				requireKeys(t, s, "lock")
			})
		})
	}
}

func TestNothingIsLeftOfALossThatNobodyComesAfter(t *testing.T) {
	t.Parallel()
	const d = 30 * time.Second
	for what, end := range everyLoss() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				p := newParty(t, s)
				unlock(t, take(t, p.named(t, "lock/other", lock.WithLockDelay(d))))
				kept := take(t, p.named(t, "lock/kept", lock.WithLockDelay(d))) // on the same leases
				h := take(t, p.mutex(t, lock.WithLockDelay(d)))
				at := loss(t, s, h)
				end(t, p, h)
				died := await(t, at, "the key goes")
				vtime.Sleep(d - time.Second)
				requireKeys(t, s, marker, marker)
				vtime.Sleep(latest(what, d) - time.Since(died))
				if kept.Err() != nil {
					requireKeys(t, s, "lock")
				}
				requireKeys(t, s, marker)
			})
		})
	}
}

// A Multi leaves no marks, but minds those of its names.
func TestAMultiWaitsForTheDelaysOfItsNames(t *testing.T) {
	t.Parallel()
	const d = 17 * time.Second
	for what, end := range everyLoss() {
		for _, waits := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, waits %t", what, waits), func(t *testing.T) {
				t.Parallel()
				vtime.Run(t, func(t *testing.T, s *vtime.Server) {
					p, q := newParty(t, s), newParty(t, s)
					h := take(t, p.mutex(t, lock.WithLockDelay(d), lock.WithOwner("the lost")))
					at := loss(t, s, h)
					names := append(manyNames("", lock.MaxNames-1), "lock")
					multi, err := lock.NewMulti(q.session, names)
					require.NoError(t, err)
					var first <-chan outcome
					if waits {
						first = soon(anHour(t), multi.Lock)
					}
					end(t, p, h)
					died := await(t, at, "the key goes")
					if !waits {
						first = soon(anHour(t), multi.Lock)
						other, err := lock.NewMulti(newParty(t, s).session, []string{"lock", "free"})
						require.NoError(t, err)
						_, err = other.TryLock(t.Context())
						e := &lock.LockedError{}
						require.ErrorAs(t, err, &e)
						require.Equal(t, "lock", e.Name)
					}
					next := granted(t, first)
					require.GreaterOrEqual(t, time.Since(died), d)
					require.LessOrEqual(t, time.Since(died), d+time.Second)
					unlock(t, next)
				})
			})
		}
	}
}

func TestAMultiThatTriesNamesALostOwner(t *testing.T) {
	t.Parallel()
	const d = 17 * time.Second
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p, q := newParty(t, s), newParty(t, s)
		h := take(t, p.mutex(t, lock.WithLockDelay(d), lock.WithOwner("the lost")))
		at := loss(t, s, h)
		p.cut.Cut()
		died := await(t, at, "the key goes")
		multi, err := lock.NewMulti(q.session, append(manyNames("", lock.MaxNames-1), "lock"))
		require.NoError(t, err)
		for {
			next, err := multi.TryLock(t.Context())
			if err == nil {
				unlock(t, next)
				break
			}
			e := &lock.LockedError{}
			require.ErrorAs(t, err, &e)
			require.Equal(t, "lock", e.Name)
			require.Equal(t, "the lost", e.Owner)
			vtime.Advance(250 * time.Millisecond)
			require.Less(t, time.Since(died), 3*d, "it has to end")
		}
		require.GreaterOrEqual(t, time.Since(died), d)
		require.LessOrEqual(t, time.Since(died), d+time.Second)
	})
}

// An enqueue that takes a free lock leaves the mark with its key, and both go with it.
func TestAnEnqueueThatArrivesLateLeavesNoMark(t *testing.T) {
	t.Parallel()
	const d = time.Minute
	for _, delay := range []time.Duration{2 * time.Second, 5 * time.Second, 101 * time.Second} {
		var late lateTxn
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			p, q := newParty(t, s), newParty(t, s)
			m, n := p.mutex(t, lock.WithLockDelay(d)), q.mutex(t, lock.WithLockDelay(d))
			unlock(t, take(t, m)) // has the leases granted
			began := time.Now()
			late.delayNext(delay)
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			_, err := m.Lock(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			vtime.Sleep(time.Until(began.Add(delay)))
			arrived := time.Now()
			unlock(t, take(t, n))
			require.LessOrEqual(t, time.Since(arrived), partyTTL/3+time.Second, "nobody has held it")
			requireKeys(t, s, "lock")
		}, late.option())
	}
}

func TestTheDelayGoesOnWhenWhoWaitsForItDies(t *testing.T) {
	t.Parallel()
	const d = 20 * time.Second
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p, q, r := newParty(t, s), newParty(t, s), newParty(t, s)
		h := take(t, p.mutex(t, lock.WithLockDelay(d)))
		soon(anHour(t), q.mutex(t, lock.WithLockDelay(d)).Lock)
		live := soon(anHour(t), r.mutex(t, lock.WithLockDelay(d)).Lock)
		at := loss(t, s, h)
		p.cut.Cut()
		died := await(t, at, "the key goes")
		vtime.Advance(d / 2)
		require.NoError(t, q.session.Close(t.Context()))
		unlock(t, granted(t, live))
		require.GreaterOrEqual(t, time.Since(died), d)
		require.LessOrEqual(t, time.Since(died), d+2*time.Second)
		requireKeys(t, s, "lock")
	})
}

func TestLostRepliesLeaveNoMarkBehind(t *testing.T) {
	t.Parallel()
	for _, replies := range []int{1, 3} {
		t.Run(fmt.Sprint(replies), func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				p, q := newParty(t, s), newParty(t, s)
				m, n := p.mutex(t, lock.WithLockDelay(time.Minute)), q.mutex(t, lock.WithLockDelay(time.Minute))
				began := time.Now()
				for _, acquire := range []taker{m.Lock, m.TryLock} {
					p.rec.DropReplies("Txn", replies) // to the enqueue, which leaves the mark
					h, err := acquire(t.Context())
					require.NoError(t, err)
					requireKeys(t, s, "lock", h.Key(), marker)
					waiter := soon(anHour(t), n.Lock)
					p.rec.DropReplies("Txn", replies) // to the Unlock, which removes it
					unlock(t, h)
					// The waiter has claimed it meanwhile.
					unlock(t, granted(t, waiter))
					requireKeys(t, s, "lock")
				}
				h := take(t, m)
				waiter := soon(anHour(t), n.Lock)
				q.rec.DropReplies("Txn", 1+replies) // to the wake-up's read and the claim
				unlock(t, h)
				unlock(t, granted(t, waiter))
				requireKeys(t, s, "lock")
				require.Less(t, time.Since(began), time.Minute, "no delay")
			})
		})
	}
}

func TestAnOwnerWhoseFirstReplyWasLostLeavesNoMarkForLongerThanTheDelay(t *testing.T) {
	t.Parallel()
	const d = 17 * time.Second
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		p.rec.DropReplies("Txn", 1)
		h, err := p.mutex(t, lock.WithLockDelay(d)).TryLock(t.Context())
		require.NoError(t, err)
		requireKeys(t, s, "lock", h.Key(), marker)
		_, err = s.Client().Delete(t.Context(), h.Key())
		require.NoError(t, err)
		await(t, h.Context().Done(), "it is told")
		vtime.Advance(d + time.Second)
		requireKeys(t, s, "lock")
	})
}

// The lease of the delay was revoked, and the renewal that finds this out has no answer: whoever
// asks for the lock meanwhile has it as soon as a later one has.
func TestTheLossOfTheDelaysLeaseIsNotedLate(t *testing.T) {
	t.Parallel()
	for name, asks := range map[string]func(*lock.Mutex) taker{
		"Lock": func(m *lock.Mutex) taker { return m.Lock }, "TryLock": func(m *lock.Mutex) taker { return m.TryLock },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				p, client := newParty(t, s), s.Client()
				m := p.mutex(t, lock.WithLockDelay(time.Minute))
				h := take(t, m)
				resp, err := client.Get(t.Context(), marker)
				require.NoError(t, err)
				unlock(t, h)
				_, err = client.Revoke(t.Context(), clientv3.LeaseID(resp.Kvs[0].Lease))
				require.NoError(t, err)
				release := p.rec.Stall("LeaseKeepAlive")
				asked := soon(anHour(t), asks(m))
				vtime.Advance(partyTTL / 4)
				release()
				unlock(t, granted(t, asked))
			})
		})
	}
}

func TestAContextThatEndsDuringTheDelayEndsTheWait(t *testing.T) {
	t.Parallel()
	const d = 20 * time.Second
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p, q := newParty(t, s), newParty(t, s)
		h := take(t, p.mutex(t, lock.WithLockDelay(d)))
		losses()["its lease revoked"](t, p, h)
		m := q.mutex(t, lock.WithLockDelay(d))
		ctx, cancel := context.WithTimeout(t.Context(), d/2)
		defer cancel()
		began := time.Now()
		_, err := m.Lock(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, d/2, time.Since(began))
		synctest.Wait()
		requireKeys(t, s, "lock", marker)
		unlock(t, take(t, m))
		require.Equal(t, d, time.Since(began), "what was waited for counts")
		requireKeys(t, s, "lock")
	})
}

func TestTheDelayOfTheLostOwnerCounts(t *testing.T) {
	t.Parallel()
	const short, long = 5 * time.Second, 20 * time.Second
	eachVirtually(t, map[string][2]time.Duration{"the longer": {long, short}, "the shorter": {short, long}},
		func(t *testing.T, s *vtime.Server, of [2]time.Duration) {
			t.Helper()
			for _, try := range []bool{false, true} {
				p, q := newParty(t, s), newParty(t, s)
				h := take(t, p.mutex(t, lock.WithLockDelay(of[0])))
				at := loss(t, s, h)
				p.cut.Cut()
				died := await(t, at, "the key goes")
				m := q.mutex(t, lock.WithLockDelay(of[1]))
				for try && time.Since(died) < 3*long {
					next, err := m.TryLock(t.Context())
					if err == nil {
						unlock(t, next)
						break
					}
					vtime.Advance(time.Second)
				}
				if !try {
					unlock(t, take(t, m))
				}
				require.GreaterOrEqual(t, time.Since(died), of[0])
				require.LessOrEqual(t, time.Since(died), of[0]+2*time.Second)
			}
		})
}

func TestNoMarkIsLeftAfterCleanUse(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		delay := lock.WithLockDelay(time.Minute)
		p, q := newParty(t, s), newParty(t, s)
		m := p.mutex(t, delay, lock.WithLocalHandoff(2), lock.WithLinger(time.Second))
		plain := q.mutex(t, delay)
		began := time.Now()

		// Hand-offs in memory and through etcd, with another process between.
		h := take(t, m)
		waiters := append(line(t, m, 4), soon(anHour(t), plain.Lock))
		unlock(t, h)
		for range waiters {
			synctest.Wait()
			for _, w := range waiters {
				if len(w) > 0 {
					unlock(t, granted(t, w))
				}
			}
		}
		// Lingering, then wanted by another.
		unlock(t, take(t, plain))
		unlock(t, take(t, m))
		h = take(t, plain)
		// Waiters who leave, and refusals.
		ctx, cancel := context.WithCancel(anHour(t))
		first, second := soon(ctx, plain.Lock), soon(ctx, m.Lock)
		for _, try := range []taker{plain.TryLock, m.TryLock} {
			_, err := try(t.Context())
			require.ErrorIs(t, err, lock.ErrLocked)
		}
		cancel()
		require.Error(t, (<-first).err)
		require.Error(t, (<-second).err)
		synctest.Wait()
		requireKeys(t, s, "lock", h.Key(), marker)
		// Unlock in the background.
		require.ErrorIs(t, h.Unlock(ctx), context.Canceled)
		synctest.Wait()
		requireKeys(t, s, "lock")
		// A Lock that is given up just as it succeeds.
		for range 30 {
			ctx, cancel := context.WithCancel(anHour(t))
			done := make(chan outcome, 1)
			go func() {
				h, err := plain.Lock(ctx)
				done <- outcome{h, err}
			}()
			cancel()
			if o := <-done; o.err == nil {
				unlock(t, o.hold)
			}
			synctest.Wait()
			requireKeys(t, s, "lock")
		}
		require.Equal(t, began, time.Now(), "nobody has waited")
	})
}

func TestAnOperatorsMarkIsWaitedFor(t *testing.T) {
	t.Parallel()
	const d = 20 * time.Second
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		m := p.mutex(t, lock.WithLockDelay(d))
		for _, value := range []string{"", "garbage", `{"delay":"x"}`, `{"delay":-5}`, `{"nonce":"x","owner":"an operator","delay":1}`} {
			mark := func() {
				operate(t, s, func(client *clientv3.Client) error {
					_, err := client.Put(t.Context(), marker, value)
					return err
				})
			}
			mark()
			began := time.Now()
			h := take(t, m)
			require.Equal(t, d, time.Since(began), value)
			unlock(t, h)
			requireKeys(t, s, "lock")

			h = take(t, m)
			mark() // over that of the holder, who goes on
			require.NoError(t, h.Err())
			unlock(t, h)
			began = time.Now()
			unlock(t, take(t, m))
			require.Equal(t, d, time.Since(began), value)
			requireKeys(t, s, "lock")
		}
		h := take(t, m)
		operate(t, s, func(client *clientv3.Client) error {
			_, err := client.Delete(t.Context(), marker)
			return err
		})
		unlock(t, h)
		began := time.Now()
		unlock(t, take(t, m))
		require.Equal(t, began, time.Now(), "whoever removes the mark does not want a delay")
	})
}

// A leader that resumes after a stall may revoke leases that are alive.
func TestALockDelayOfATTLKeepsHoldersApartWhenALeaseIsRevokedEarly(t *testing.T) {
	t.Parallel()
	times := suite.Long(7, 20)
	for what, c := range map[string]struct {
		opts  []lock.Option
		apart bool
	}{
		"with":    {[]lock.Option{lock.WithLockDelay(partyTTL)}, true},
		"without": {nil, false},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			overlaps := 0
			for i := range times {
				vtime.Run(t, func(t *testing.T, s *vtime.Server) {
					p, q := newParty(t, s), newParty(t, s)
					h := take(t, p.mutex(t, c.opts...))
					waiter := soon(anHour(t), q.mutex(t, c.opts...).Lock)
					vtime.Advance(time.Duration(i) * partyTTL / 7) // before, at, and after renewals
					p.cut.Cut()                                    // so that it does not learn
					_, err := q.client.Revoke(t.Context(), clientv3.LeaseID(leaseOf(t, s, h)))
					require.NoError(t, err)
					next := granted(t, waiter)
					if h.Err() == nil || !next.Deadline().After(time.Now()) {
						overlaps++
					}
					unlock(t, next)
				})
			}
			t.Logf("%d of %d with two holders", overlaps, times)
			if c.apart {
				require.Zero(t, overlaps)
			} else {
				require.Equal(t, times, overlaps)
			}
		})
	}
}

// leaseOf returns the lease of a hold's key.
func leaseOf(t *testing.T, s *vtime.Server, h *lock.Hold) int64 {
	t.Helper()
	client := s.Client()
	resp, err := client.Get(t.Context(), h.Key())
	require.NoError(t, err)
	require.NoError(t, client.Close())
	return resp.Kvs[0].Lease
}
