package lock_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lock"
)

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

// Who tries may be the first to find out that the holder's lease has ended.
func TestTryLockAfterALossDoesNotOvertakeThoseWhoWait(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		for range 20 { // who comes first at one instant is open
			p := newParty(t, s)
			m := p.mutex(t, lock.WithLocalHandoff(9))
			l, err := p.session.Lease(t.Context())
			require.NoError(t, err)
			h := take(t, m)
			waiter := soon(anHour(t), m.Lock)
			p.cut.Cut()
			vtime.Sleep(time.Until(l.Deadline()))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err = m.TryLock(ctx)
			cancel()
			require.ErrorIs(t, err, lock.ErrLocked)
			p.cut.Heal()
			lost(t, h)
			unlock(t, granted(t, waiter))
			require.NoError(t, p.session.Close(t.Context()))
		}
	})
}
