package lock_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lock"
)

func TestLockingALingeringLockCostsNothing(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		m := p.mutex(t, lock.WithLinger(time.Minute))
		h := take(t, m)
		unlock(t, h)
		synctest.Wait()
		require.Equal(t, tally{writes: 1, watches: 2, local: 1, other: 1}, sent(p.rec), "the lease, the entry, a look for others, and what keeps the stream open")
		p.rec.Reset()
		for i := range 100 {
			next := take(t, m)
			if i%2 == 1 {
				unlock(t, next)
				var err error
				next, err = m.TryLock(t.Context())
				require.NoError(t, err)
			}
			require.Greater(t, next.Token(), h.Token())
			require.Equal(t, h.Token().Revision(), next.Token().Revision())
			unlock(t, next)
			h = next
		}
		require.Empty(t, p.rec.Calls())
		requireKeys(t, s, "lock", h.Key())
	})
}

func TestALingeringLockIsGivenUpAfterItsTime(t *testing.T) {
	t.Parallel()
	const d = 700 * time.Millisecond
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		m := p.mutex(t, lock.WithLinger(d), lock.WithLocalHandoff(3))
		h := take(t, m)
		vtime.Advance(2 * d)
		unlock(t, h)
		vtime.Advance(d - 1)
		unlock(t, take(t, m)) // begins anew
		vtime.Advance(d - 1)
		requireEntries(t, s, 1)
		p.rec.Reset()
		vtime.Advance(1)
		requireKeys(t, s, "lock")
		require.Equal(t, tally{writes: 1}, sent(p.rec))
		require.Equal(t, 1, p.rec.Count("WatchCancel"), "nobody looks any more")
		next := take(t, m)
		require.Greater(t, next.Token().Revision(), h.Token().Revision())
		unlock(t, next)
	})
}

func TestALingeringLockIsGivenUpAsSoonAsAnotherProcessQueues(t *testing.T) {
	t.Parallel()
	eachVirtually(t, map[string]func(t *testing.T, p *party, m, other *lock.Mutex) <-chan outcome{
		"while it lingers": func(t *testing.T, _ *party, m, other *lock.Mutex) <-chan outcome {
			t.Helper()
			unlock(t, take(t, m))
			synctest.Wait()
			return soon(anHour(t), other.Lock)
		},
		"while it is held": func(t *testing.T, _ *party, m, other *lock.Mutex) <-chan outcome {
			t.Helper()
			h := take(t, m)
			done := soon(anHour(t), other.Lock)
			unlock(t, h)
			return done
		},
		"while it is held again": func(t *testing.T, _ *party, m, other *lock.Mutex) <-chan outcome {
			t.Helper()
			unlock(t, take(t, m))
			h := take(t, m)
			done := soon(anHour(t), other.Lock)
			stillWaits(t, done)
			unlock(t, h)
			return done
		},
		"before the watch begins": func(t *testing.T, p *party, m, other *lock.Mutex) <-chan outcome {
			t.Helper()
			begin := make(chan struct{})
			p.rec.HookStream(func(_ string, d etcdtest.Direction, msg any) (bool, error) {
				if req, ok := msg.(*pb.WatchRequest); ok && d == etcdtest.Send && req.GetCreateRequest() != nil {
					<-begin
				}
				return false, nil
			})
			unlock(t, take(t, m))
			done := soon(anHour(t), other.Lock)
			stillWaits(t, done)
			close(begin)
			return done
		},
	}, func(t *testing.T, s *vtime.Server, queue func(*testing.T, *party, *lock.Mutex, *lock.Mutex) <-chan outcome) {
		t.Helper()
		p, other := newParty(t, s), newParty(t, s)
		m := p.mutex(t, lock.WithLinger(time.Minute), lock.WithLocalHandoff(5))
		began := time.Now()
		h := granted(t, queue(t, p, m, other.mutex(t)))
		require.Equal(t, began, time.Now(), "at once")
		behind := soon(anHour(t), m.Lock)
		requireEntries(t, s, 2)
		stillWaits(t, behind)
		unlock(t, h)
		unlock(t, granted(t, behind))
	})
}

// The watch of the first lingering serves the later ones of the same entry.
func TestOneWatchLooksForOthersWhileAnEntryIsKept(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p, other := newParty(t, s), newParty(t, s)
		m := p.mutex(t, lock.WithLinger(time.Minute))
		unlock(t, take(t, m))
		unlock(t, take(t, other.mutex(t)))
		for range 3 {
			p.rec.Reset()
			for range 5 {
				unlock(t, take(t, m))
				synctest.Wait()
			}
			require.Equal(t, 1, sent(p.rec).watches)
			w := peertest.WatchesIn(p.rec)[0]
			require.Equal(t, "lock/~mutex/", w.Key)
			require.Zero(t, w.Start)
			require.Equal(t, []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE}, w.Filters)
			unlock(t, take(t, other.mutex(t)))
			synctest.Wait()
			require.Equal(t, 1, p.rec.Count("WatchCancel"))
		}
		// Nor is it left behind by an entry that could not be kept.
		p.rec.Reset()
		unlock(t, take(t, m))
		synctest.Wait()
		h := take(t, m)
		_ = h.Guard()
		unlock(t, h)
		synctest.Wait()
		require.Equal(t, 1, p.rec.Count("WatchCancel"))
		requireKeys(t, s, "lock")
	})
}

func TestALockLostWhileItLingersIsAcquiredAnew(t *testing.T) {
	t.Parallel()
	eachVirtually(t, losses(), func(t *testing.T, s *vtime.Server, lose func(*testing.T, *party, *lock.Hold)) {
		t.Helper()
		for _, soonAfter := range []bool{false, true} {
			p := newParty(t, s)
			m := p.mutex(t, lock.WithLinger(lock.MaxLinger))
			h := take(t, m)
			unlock(t, h)
			synctest.Wait()
			lose(t, p, h)
			if !soonAfter {
				vtime.Advance(3 * partyTTL)
				requireKeys(t, s, "lock")
			} else {
				// Nobody knows yet, and a look tells soon.
				again := take(t, m)
				require.Equal(t, h.Token().Revision(), again.Token().Revision())
				lost(t, again)
			}
			next := take(t, m)
			require.Greater(t, next.Token().Revision(), h.Token().Revision())
			unlock(t, next)
			require.NoError(t, p.session.Close(t.Context()))
			requireKeys(t, s, "lock")
		}
	})
}

func TestASessionClosedWhileALockLingersLeavesNothing(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		m := p.mutex(t, lock.WithLinger(time.Minute))
		unlock(t, take(t, m))
		require.NoError(t, p.session.Close(t.Context()))
		requireKeys(t, s, "lock")
		p.rec.Reset()
		vtime.Advance(2 * time.Minute)
		require.Empty(t, p.rec.Calls())
	})
}

// An Unlock has released it: nobody was lost whose delay the next would have to wait for.
func TestASessionClosedWhileALockLingersLeavesNoDelay(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p, other := newParty(t, s), newParty(t, s)
		m := p.mutex(t, lock.WithLinger(time.Minute), lock.WithLockDelay(lock.MaxLockDelay))
		for range 2 { // the entry of the second is that of the first
			unlock(t, take(t, m))
		}
		synctest.Wait()
		require.NoError(t, p.session.Close(t.Context()))
		requireKeys(t, s, "lock")
		began := time.Now()
		unlock(t, take(t, other.mutex(t, lock.WithLockDelay(lock.MaxLockDelay))))
		require.Zero(t, time.Since(began))
	})
}

func TestALockReleasedAfterTheSessionBeganToCloseDoesNotLinger(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		h := take(t, p.mutex(t, lock.WithLinger(time.Minute), lock.WithLockDelay(lock.MaxLockDelay)))
		another := take(t, p.named(t, "another"))
		removing, goOn := make(chan struct{}), make(chan struct{})
		unhook := p.rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
			close(removing)
			<-goOn
			return invoke()
		})
		done, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, another.Unlock(done), context.Canceled)
		<-removing
		unhook()
		closed := make(chan error, 1)
		go func() { closed <- p.session.Close(t.Context()) }()
		synctest.Wait() // it waits for the removal
		unlock(t, h)
		requireKeys(t, s, "lock")
		close(goOn)
		require.NoError(t, <-closed)
	})
}

func TestNobodyWaitsForTheDelayOfALockThatWasLostWhileItLingered(t *testing.T) {
	t.Parallel()
	eachVirtually(t, losses(), func(t *testing.T, s *vtime.Server, lose func(*testing.T, *party, *lock.Hold)) {
		t.Helper()
		p, other := newParty(t, s), newParty(t, s)
		h := take(t, p.mutex(t, lock.WithLinger(lock.MaxLinger), lock.WithLockDelay(lock.MaxLockDelay)))
		unlock(t, h)
		synctest.Wait()
		lose(t, p, h)
		vtime.Advance(3 * partyTTL)
		requireKeys(t, s, "lock")
		began := time.Now()
		unlock(t, take(t, other.mutex(t, lock.WithLockDelay(lock.MaxLockDelay))))
		require.Zero(t, time.Since(began))
	})
}

func TestLingerAndHandoffTogetherCountOneSequence(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p, other := newParty(t, s), newParty(t, s)
		m := p.mutex(t, lock.WithLinger(time.Minute), lock.WithLocalHandoff(3))
		h := take(t, m)
		waiters := line(t, m, 2)
		for i, w := range waiters {
			unlock(t, h)
			h = granted(t, w)
			require.Equal(t, i+1, h.Token().Sequence())
		}
		unlock(t, h)
		first := h.Token()
		for i := range 5 { // nobody is kept waiting
			h = take(t, m)
			require.Equal(t, i+3, h.Token().Sequence())
			require.Equal(t, first.Revision(), h.Token().Revision())
			if i < 4 {
				unlock(t, h)
			}
		}
		// Hand-offs would keep somebody waiting, and there have been enough.
		waiters = line(t, m, 1)
		theirs := soon(anHour(t), other.mutex(t).Lock)
		unlock(t, h)
		synctest.Wait()
		stillWaits(t, waiters[0])
		unlock(t, granted(t, theirs))
		next := granted(t, waiters[0])
		require.Zero(t, next.Token().Sequence())
		require.Greater(t, next.Token().Revision(), first.Revision())
		unlock(t, next)
	})
}

func TestUnlockOfALockThatLingersDoesNotWait(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		m := p.mutex(t, lock.WithLinger(time.Minute))
		h := take(t, m)
		p.cut.Cut()
		done, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, h.Unlock(done))
		again, err := m.TryLock(t.Context())
		require.NoError(t, err, "with the network gone and the lease good")
		require.NoError(t, again.Unlock(t.Context()))
		p.cut.Heal()
	})
}

// A watch that keeps quiet, as one does whose member has vanished without a word, delays
// others by the time of lingering, and by a third of a TTL if the lock is used again and
// again.
func TestADeafProcessKeepsOthersWaitingForALimitedTimeOnly(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		linger, every, most time.Duration
	}{
		"idle": {linger: time.Second, most: time.Second},
		"busy": {linger: time.Minute, every: 100 * time.Millisecond, most: partyTTL/3 + 100*time.Millisecond},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				p, other := newParty(t, s), newParty(t, s)
				p.rec.HookStream(func(_ string, d etcdtest.Direction, msg any) (bool, error) {
					resp, ok := msg.(*pb.WatchResponse)
					return ok && d == etcdtest.Recv && len(resp.Events) > 0, nil
				})
				m := p.mutex(t, lock.WithLinger(c.linger))
				unlock(t, take(t, m))
				synctest.Wait()
				began := time.Now()
				done := soon(anHour(t), other.mutex(t).Lock)
				for c.every > 0 && len(done) == 0 {
					use, cancel := context.WithTimeout(anHour(t), c.every)
					if h, err := m.Lock(use); err == nil {
						unlock(t, h)
					}
					cancel()
					vtime.Advance(c.every)
				}
				h := granted(t, done)
				t.Logf("granted after %v", time.Since(began))
				require.LessOrEqual(t, time.Since(began), c.most)
				unlock(t, h)
			})
		})
	}
}

// A transaction whose outcome is open, and a guard that was given away, keep a lock from
// lingering.
func TestALockWithUnfinishedBusinessDoesNotLinger(t *testing.T) {
	t.Parallel()
	eachVirtually(t, unfinished(), func(t *testing.T, s *vtime.Server, leave func(*testing.T, *party, *lock.Hold)) {
		t.Helper()
		p := newParty(t, s)
		m := p.mutex(t, lock.WithLinger(time.Minute))
		h := take(t, m)
		leave(t, p, h)
		unlock(t, h)
		synctest.Wait()
		require.NotContains(t, storedUnder(t, s, "lock"), h.Key())
	})
}

// unfinished are the ways to leave something behind that may take effect later.
func unfinished() map[string]func(t *testing.T, p *party, h *lock.Hold) {
	return map[string]func(t *testing.T, p *party, h *lock.Hold){
		"a transaction under way": func(t *testing.T, p *party, h *lock.Hold) {
			t.Helper()
			arrive := make(chan struct{})
			p.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
				if txn, ok := req.(*pb.TxnRequest); ok && writes(txn, "k") {
					<-arrive
				}
				return invoke()
			})
			committed := make(chan error, 1)
			go func() {
				_, err := h.Txn(context.WithoutCancel(t.Context())).Then(clientv3.OpPut("k", "late")).Commit()
				committed <- err
			}()
			synctest.Wait()
			t.Cleanup(func() {
				close(arrive)
				require.ErrorIs(t, <-committed, lock.ErrReleased)
			})
		},
		"a transaction without an answer": func(t *testing.T, p *party, h *lock.Hold) {
			t.Helper()
			p.rec.DropReplies("Txn", 1)
			_, err := h.Txn(t.Context()).Then(clientv3.OpPut("k", "v")).Commit()
			require.Error(t, err)
		},
		"a transaction given up": func(t *testing.T, p *party, h *lock.Hold) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			p.cut.HoldToServer()
			_, err := h.Txn(ctx).Then(clientv3.OpPut("k", "v")).Commit()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			p.cut.Heal()
		},
		"a guard": func(t *testing.T, p *party, h *lock.Hold) {
			t.Helper()
			guard := h.Guard()
			resp, err := p.client.Txn(t.Context()).If(guard...).Commit()
			require.NoError(t, err)
			require.True(t, resp.Succeeded)
			t.Cleanup(func() {
				resp, err := p.client.Txn(context.WithoutCancel(t.Context())).If(guard...).Then(clientv3.OpPut("k", "late")).Commit()
				require.NoError(t, err)
				require.False(t, resp.Succeeded)
			})
		},
	}
}

// writes reports whether a transaction puts key.
func writes(txn *pb.TxnRequest, key string) bool {
	for _, op := range txn.Success {
		if put := op.GetRequestPut(); put != nil && string(put.Key) == key {
			return true
		}
		if nested := op.GetRequestTxn(); nested != nil && writes(nested, key) {
			return true
		}
	}
	return false
}

func TestUnfinishedBusinessForbidsAHandoffInMemory(t *testing.T) {
	t.Parallel()
	eachVirtually(t, unfinished(), func(t *testing.T, s *vtime.Server, leave func(*testing.T, *party, *lock.Hold)) {
		t.Helper()
		p := newParty(t, s)
		m := p.mutex(t, lock.WithLocalHandoff(9))
		h := take(t, m)
		waiter := soon(anHour(t), m.Lock)
		leave(t, p, h)
		p.rec.Reset()
		unlock(t, h)
		next := granted(t, waiter)
		require.Greater(t, next.Token().Revision(), h.Token().Revision(), "a new entry")
		require.Equal(t, tally{writes: 1}, sent(p.rec), "in one transaction")
		unlock(t, next)
	})
}

// What was finished in time does not.
func TestTransactionsThatWereAnsweredDoNotForbidHandoffs(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		m := p.mutex(t, lock.WithLocalHandoff(9))
		h := take(t, m)
		waiter := soon(anHour(t), m.Lock)
		_, err := h.Txn(t.Context()).Then(clientv3.OpPut("k", "v")).Commit()
		require.NoError(t, err)
		unlock(t, h)
		next := granted(t, waiter)
		require.Equal(t, h.Token()+1, next.Token())
		unlock(t, next)
	})
}
