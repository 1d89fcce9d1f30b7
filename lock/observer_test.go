package lock_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// stage is a process with a ledger, in virtual time, and one without, which has a mutex
// of the same name.
type stage struct {
	*ledger
	*party
	other *party
}

func newStage(t *testing.T, s *vtime.Server) *stage {
	t.Helper()
	x := &stage{ledger: newLedger(t), party: newParty(t, s), other: newParty(t, s)}
	var err error
	x.session, err = lease.NewSession(t.Context(), x.client, lease.WithTTL(partyTTL),
		lease.WithObserver(x.ledger.observer()), lease.WithObserver(lease.Observer{}))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, x.session.Close(context.Background())) })
	return x
}

// delete has an operator delete the key that the process has in the queue.
func (x *stage) delete(t *testing.T) {
	t.Helper()
	operate(t, x.server, func(client *clientv3.Client) error {
		all, err := lock.Inspect(t.Context(), client, "lock")
		for _, e := range all {
			if e.Lease == x.lease(t) {
				_, err = client.Delete(t.Context(), e.Key)
			}
		}
		return err
	})
	vtime.Advance(partyTTL) // a look finds out
}

// revoke has an operator revoke the process's lease.
func (x *stage) revoke(t *testing.T) {
	t.Helper()
	losses()["its lease revoked"](t, x.party, nil)
	vtime.Advance(partyTTL)
}

// cutOff lets the lease expire.
func (x *stage) cutOff(t *testing.T) {
	t.Helper()
	losses()["cut off"](t, x.party, nil)
	vtime.Advance(3 * partyTTL)
}

// Each of these is a way in which an acquisition, a wait or a hold can end.
func TestWhatIsToldOfAcquisitionsAndHoldsComesInPairs(t *testing.T) {
	t.Parallel()
	first := []string{"acquiring", "granted"}
	given := []string{"released", "releasing", "removed"}
	cases := map[string]struct {
		run  func(t *testing.T, x *stage)
		want []string
	}{
		"unlocked": {func(t *testing.T, x *stage) {
			t.Helper()
			unlock(t, take(t, x.mutex(t)))
		}, slices.Concat(first, given)},
		"granted after a wait": {func(t *testing.T, x *stage) {
			t.Helper()
			h := take(t, x.other.mutex(t))
			done := soon(anHour(t), x.mutex(t).Lock)
			x.requireCounts(t, 1, 0)
			unlock(t, h)
			mine := granted(t, done)
			x.requireCounts(t, 0, 1)
			unlock(t, mine)
		}, slices.Concat([]string{"acquiring", "waiting", "waited", "granted"}, given)},
		"cancelled while it waits": {func(t *testing.T, x *stage) {
			t.Helper()
			h := take(t, x.other.mutex(t))
			ctx, cancel := context.WithCancel(anHour(t))
			done := soon(ctx, x.mutex(t).Lock)
			cancel()
			require.ErrorIs(t, (<-done).err, context.Canceled)
			unlock(t, h)
		}, []string{"acquiring", "waiting", "waited canceled", "failed canceled"}},
		"out of time while it waits": {func(t *testing.T, x *stage) {
			t.Helper()
			h := take(t, x.other.mutex(t))
			ctx, cancel := context.WithTimeout(anHour(t), time.Second)
			defer cancel()
			require.ErrorIs(t, (<-soon(ctx, x.mutex(t).Lock)).err, context.DeadlineExceeded)
			unlock(t, h)
		}, []string{"acquiring", "waiting", "waited timeout", "failed timeout"}},
		"cancelled before": {func(t *testing.T, x *stage) {
			t.Helper()
			ctx, cancel := context.WithCancel(anHour(t))
			cancel()
			_, err := x.mutex(t).Lock(ctx)
			require.ErrorIs(t, err, context.Canceled)
		}, []string{"acquiring", "failed canceled"}},
		"lease revoked while it waits": {func(t *testing.T, x *stage) {
			t.Helper()
			h := take(t, x.other.mutex(t))
			done := soon(anHour(t), x.mutex(t).Lock)
			x.revoke(t)
			x.requireCounts(t, 1, 0)
			unlock(t, h)
			unlock(t, granted(t, done))
		}, slices.Concat([]string{"acquiring", "waiting", "waited revoked", "waiting", "waited", "granted"}, given)},
		"key deleted while it waits": {func(t *testing.T, x *stage) {
			t.Helper()
			h := take(t, x.other.mutex(t))
			done := soon(anHour(t), x.mutex(t).Lock)
			x.delete(t)
			x.requireCounts(t, 1, 0)
			unlock(t, h)
			unlock(t, granted(t, done))
		}, slices.Concat([]string{"acquiring", "waiting", "waited deleted", "waiting", "waited", "granted"}, given)},
		"session closed while it waits": {func(t *testing.T, x *stage) {
			t.Helper()
			h := take(t, x.other.mutex(t))
			done := soon(anHour(t), x.mutex(t).Lock)
			require.NoError(t, x.session.Close(t.Context()))
			require.ErrorIs(t, (<-done).err, lease.ErrClosed)
			unlock(t, h)
		}, []string{"acquiring", "waiting", "waited closed", "failed closed"}},
		"cut off while held": {func(t *testing.T, x *stage) {
			t.Helper()
			take(t, x.mutex(t))
			x.cutOff(t)
		}, append(first, "released deadline")},
		"lease revoked while held": {func(t *testing.T, x *stage) {
			t.Helper()
			take(t, x.mutex(t))
			x.revoke(t)
		}, append(first, "released revoked")},
		"key deleted while held, then unlocked": {func(t *testing.T, x *stage) {
			t.Helper()
			h := take(t, x.mutex(t))
			x.delete(t)
			require.ErrorIs(t, h.Unlock(t.Context()), lock.ErrLost)
		}, append(first, "released deleted")},
		"session closed while held": {func(t *testing.T, x *stage) {
			t.Helper()
			take(t, x.mutex(t))
			require.NoError(t, x.session.Close(t.Context()))
		}, append(first, "released closed")},
		"unlocked while cut off": {func(t *testing.T, x *stage) {
			t.Helper()
			h := take(t, x.mutex(t))
			x.cut.Cut()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, h.Unlock(ctx), context.Canceled)
			acquiring, waiting, holds, releasing := x.counts()
			require.Equal(t, []int{0, 0, 0, 1}, []int{acquiring, waiting, holds, releasing})
			x.cutOff(t)
		}, slices.Concat(first, []string{"released", "releasing", "removed deadline"})},
		"tried": {func(t *testing.T, x *stage) {
			t.Helper()
			h, err := x.mutex(t).TryLock(t.Context())
			require.NoError(t, err)
			_, err = x.mutex(t).TryLock(t.Context())
			require.ErrorIs(t, err, lock.ErrLocked)
			unlock(t, h)
		}, slices.Concat(first, []string{"acquiring", "failed taken"}, given)},
		"handed on in memory": {func(t *testing.T, x *stage) {
			t.Helper()
			m := x.mutex(t, lock.WithLocalHandoff(5))
			h := take(t, m)
			waiters := line(t, m, 1)
			x.requireCounts(t, 1, 1)
			unlock(t, h)
			unlock(t, granted(t, waiters[0]))
		}, slices.Concat(first, []string{"acquiring", "waiting", "released", "releasing", "waited", "granted", "removed"}, given)},
		"behind another process in local line": {func(t *testing.T, x *stage) {
			t.Helper()
			h := take(t, x.other.mutex(t))
			waiters := line(t, x.mutex(t, lock.WithLocalHandoff(5)), 2)
			x.requireCounts(t, 2, 0)
			unlock(t, h)
			for _, w := range waiters {
				unlock(t, granted(t, w))
			}
		}, slices.Concat([]string{
			"acquiring", "waiting", "acquiring", "waiting", "waited", "granted",
			"released", "releasing", "waited", "granted", "removed",
		}, given)},
		"cancelled in local line": {func(t *testing.T, x *stage) {
			t.Helper()
			h := take(t, x.other.mutex(t))
			ctx, cancel := context.WithCancel(anHour(t))
			done := soon(ctx, x.mutex(t, lock.WithLocalHandoff(5)).Lock)
			x.requireCounts(t, 1, 0)
			cancel()
			require.ErrorIs(t, (<-done).err, context.Canceled)
			unlock(t, h)
		}, []string{"acquiring", "waiting", "waited canceled", "failed canceled"}},
		"lease revoked in local line": {func(t *testing.T, x *stage) {
			t.Helper()
			h := take(t, x.other.mutex(t))
			done := soon(anHour(t), x.mutex(t, lock.WithLocalHandoff(5)).Lock)
			x.revoke(t)
			x.requireCounts(t, 1, 0)
			unlock(t, h)
			unlock(t, granted(t, done))
		}, slices.Concat([]string{"acquiring", "waiting", "waited", "granted"}, given)},
		"lost to the local line": {func(t *testing.T, x *stage) {
			t.Helper()
			m := x.mutex(t, lock.WithLocalHandoff(5))
			take(t, m)
			waiters := line(t, m, 1)
			x.revoke(t)
			x.requireCounts(t, 0, 1)
			unlock(t, granted(t, waiters[0]))
		}, slices.Concat(first, []string{"acquiring", "waiting", "released revoked", "waited", "granted"}, given)},
		"session closed in local line": {func(t *testing.T, x *stage) {
			t.Helper()
			h := take(t, x.other.mutex(t))
			done := soon(anHour(t), x.mutex(t, lock.WithLocalHandoff(5)).Lock)
			require.NoError(t, x.session.Close(t.Context()))
			require.ErrorIs(t, (<-done).err, lease.ErrClosed)
			unlock(t, h)
		}, []string{"acquiring", "waiting", "waited closed", "failed closed"}},
		"lingering and taken again": {func(t *testing.T, x *stage) {
			t.Helper()
			m := x.mutex(t, lock.WithLinger(time.Second))
			unlock(t, take(t, m))
			unlock(t, take(t, m))
			h, err := m.TryLock(t.Context())
			require.NoError(t, err)
			_, err = m.TryLock(t.Context())
			require.ErrorIs(t, err, lock.ErrLocked)
			unlock(t, h)
			vtime.Advance(time.Minute) // it is given up
		}, slices.Concat(first, given, first, given, first, []string{"acquiring", "failed taken"}, given)},
		"after a lost owner with a lock delay": {func(t *testing.T, x *stage) {
			t.Helper()
			h := take(t, x.other.mutex(t, lock.WithLockDelay(time.Minute)))
			operate(t, x.server, func(client *clientv3.Client) error {
				_, err := client.Delete(t.Context(), h.Key())
				return err
			})
			done := soon(anHour(t), x.mutex(t, lock.WithLockDelay(time.Minute)).Lock)
			x.requireCounts(t, 1, 0)
			unlock(t, granted(t, done))
		}, slices.Concat([]string{"acquiring", "waiting", "waited", "granted"}, given)},
	}
	for what, c := range cases {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				x := newStage(t, s)
				c.run(t, x)
				vtime.Advance(time.Second)
				x.requireNothing(t)
				require.Equal(t, c.want, x.ledger.heard())
			})
		})
	}
}

func TestEventsSayWhoWhomAndHowLong(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		x := newStage(t, s)
		theirs := take(t, x.other.mutex(t))
		m := x.mutex(t, lock.WithLocalHandoff(5), lock.WithLinger(time.Second))
		waiters := line(t, m, 2)
		vtime.Advance(2 * time.Second)
		unlock(t, theirs)
		h := granted(t, waiters[0])
		vtime.Advance(3 * time.Second)
		unlock(t, h)
		next := granted(t, waiters[1])
		unlock(t, next)
		again := take(t, m)
		unlock(t, again)

		all := x.list("granted")
		require.Len(t, all, 3)
		e := all[0]
		require.Equal(t, lease.ViaQueue, e.Via)
		require.Equal(t, []any{"mutex", "lock", h.Key(), h.Token().Revision(), 0},
			[]any{e.Kind, e.Name, e.Key, e.Revision, e.Sequence})
		require.Equal(t, []any{theirs.Key(), theirs.Token().Revision()}, []any{e.Predecessor, e.Followed})
		require.Equal(t, 2*time.Second, e.Took.Truncate(time.Second))
		require.Equal(t, "acquiring", e.Context.Value(callKey{}))
		require.Nil(t, h.Context().Value(callKey{}), "the hold's context is of the caller's")
		e = all[1]
		require.Equal(t, lease.ViaHandoff, e.Via)
		require.Equal(t, []any{next.Key(), next.Token().Revision(), next.Token().Sequence()}, []any{e.Key, e.Revision, e.Sequence})
		require.Equal(t, []any{h.Key(), h.Token().Revision()}, []any{e.Predecessor, e.Followed})
		require.Equal(t, 5*time.Second, e.Took.Truncate(time.Second))
		e = all[2]
		require.Equal(t, lease.ViaLinger, e.Via)
		require.Equal(t, []any{"", int64(0), again.Token().Sequence()}, []any{e.Predecessor, e.Followed, e.Sequence})

		require.Equal(t, theirs.Key(), x.list("waiting")[0].Predecessor)
		require.Equal(t, 2*time.Second, x.list("waited")[0].Took.Truncate(time.Second))
		released := x.list("released")[0]
		require.Equal(t, 3*time.Second, released.Took.Truncate(time.Second))
		require.Equal(t, h.Context(), released.Context)
		require.Equal(t, "releasing", x.list("removed")[0].Context.Value(callKey{}))
	})
}

// Readers, writers, semaphores and multis are told of alike.
func TestEveryKindOfLockIsToldOf(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		x := newStage(t, s)
		rw, err := lock.NewRWMutex(x.session, "lock")
		require.NoError(t, err)
		h, err := rw.Lock(t.Context())
		require.NoError(t, err)
		require.Nil(t, h.Context().Value(callKey{}), "the hold's context is of the caller's")
		reader := soon(anHour(t), rw.RLock)
		x.requireCounts(t, 1, 1)
		down, err := rw.Downgrade(t.Context(), h)
		require.NoError(t, err)
		unlock(t, granted(t, reader))
		unlock(t, down)
		_, err = rw.Downgrade(t.Context(), h)
		require.Error(t, err)
		sem, err := lock.NewSemaphore(x.session, "lock", 2)
		require.NoError(t, err)
		two, err := sem.Acquire(t.Context(), 2)
		require.NoError(t, err)
		_, err = sem.TryAcquire(t.Context(), 1)
		require.ErrorIs(t, err, lock.ErrLocked)
		unlock(t, two)
		multi, err := lock.NewMulti(x.session, []string{"a", "lock"})
		require.NoError(t, err)
		both, err := multi.Lock(t.Context())
		require.NoError(t, err)
		x.delete(t) // one of its keys
		require.ErrorIs(t, both.Err(), lock.ErrLost)
		x.requireNothing(t)
		var kinds []string
		for _, e := range x.list("granted") {
			kinds = append(kinds, e.Kind+" "+e.Name)
		}
		require.ElementsMatch(t, []string{"rwmutex.write lock", "rwmutex.read lock", "rwmutex.read lock", "semaphore lock", "multi a, lock"}, kinds)
		require.Equal(t, lease.ReasonDeleted, x.list("released")[4].Reason)
		failed := x.list("failed")
		require.Len(t, failed, 2)
		require.Equal(t, lease.ReasonTaken, failed[1].Reason)
	})
}
