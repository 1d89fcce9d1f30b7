package concurrency_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestAMutexIsHandedOverInOrder(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "/my-lock/" // as in their examples
	first := concurrency.NewMutex(newMember(t, c).Session, name)
	require.NoError(t, first.Lock(guarded(t)))
	require.Equal(t, first.Header().Revision, get(t, c.Client(t), first.Key()).CreateRevision)
	require.NotZero(t, first.Header().ClusterId)
	require.NotZero(t, first.Header().MemberId)
	require.NotZero(t, first.Header().RaftTerm)
	held := first
	var waiting []*concurrency.Mutex
	var done []<-chan error
	for range 4 {
		m := newMember(t, c)
		next := concurrency.NewMutex(m.Session, name)
		require.Equal(t, concurrency.ErrLocked, next.TryLock(guarded(t)))
		require.Empty(t, next.Key())
		done = append(done, m.waiting(t, func() error { return next.Lock(guarded(t)) }))
		waiting = append(waiting, next)
	}
	for i, next := range waiting {
		requirePending(t, done[i])
		require.NoError(t, held.Unlock(guarded(t)))
		requireSuccess(t, done[i])
		require.Equal(t, fmt.Sprintf("%s/%x", name, leaseIn(t, next.Key())), next.Key())
		require.Equal(t, next.Header().Revision, get(t, c.Client(t), next.Key()).CreateRevision, "the fencing token")
		require.Greater(t, next.Header().Revision, held.Header().Revision)
		held = next
	}
	require.NoError(t, held.Unlock(guarded(t)))
}

// leaseIn returns the lease that a key names.
func leaseIn(t *testing.T, key string) (id int64) {
	t.Helper()
	_, err := fmt.Sscanf(key[strings.LastIndex(key, "/")+1:], "%x", &id)
	require.NoError(t, err)
	return id
}

func TestIsOwnerHoldsWhileTheMutexDoes(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	m := newMember(t, c)
	mutex := concurrency.NewMutex(m.Session, c.Prefix(t)+"m")
	owns := func(cmp clientv3.Cmp) bool {
		resp, err := m.client.Txn(guarded(t)).If(cmp).Commit()
		require.NoError(t, err)
		return resp.Succeeded
	}
	require.False(t, owns(mutex.IsOwner()), "before")
	require.NoError(t, mutex.TryLock(guarded(t)))
	held := mutex.IsOwner()
	require.True(t, owns(held))
	require.NoError(t, mutex.Unlock(guarded(t)))
	require.False(t, owns(held))
	require.False(t, owns(mutex.IsOwner()))
	require.NoError(t, mutex.Lock(guarded(t)))
	require.False(t, owns(held), "another one")
	require.NoError(t, mutex.Unlock(guarded(t)))
}

func TestUnlockSaysWhatItFinds(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	m := newMember(t, c, concurrency.WithTTL(6)) // a third of which it takes to notice the end of its lease
	name := c.Prefix(t) + "m"
	mutex := concurrency.NewMutex(m.Session, name)
	require.Equal(t, concurrency.ErrLockReleased, mutex.Unlock(guarded(t)), "never locked")
	require.NoError(t, mutex.Lock(guarded(t)))
	key := mutex.Key()
	remove(t, c.Client(t), key)
	other := concurrency.NewMutex(newMember(t, c).Session, name)
	require.NoError(t, other.Lock(guarded(t)))
	require.Equal(t, concurrency.ErrLockReleased, mutex.Unlock(guarded(t)), "deleted by somebody else")
	require.NotNil(t, get(t, c.Client(t), other.Key()))
	require.NoError(t, other.Unlock(guarded(t)))

	require.NoError(t, mutex.Lock(guarded(t)))
	revoke(t, c.Client(t), m.Lease())
	require.Contains(t, []error{concurrency.ErrLockReleased, concurrency.ErrSessionExpired}, mutex.Unlock(guarded(t)))
	requireClosed(t, m.Done())
	require.Equal(t, concurrency.ErrSessionExpired, mutex.Lock(guarded(t)))
	require.Equal(t, concurrency.ErrSessionExpired, mutex.TryLock(guarded(t)))
}

func TestAnUnlockThatFailsIsRepeated(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	mutex := concurrency.NewMutex(newMember(t, c).Session, c.Prefix(t)+"m")
	require.NoError(t, mutex.Lock(guarded(t)))
	key := mutex.Key()
	ctx, cancel := context.WithCancel(guarded(t))
	cancel()
	require.Equal(t, context.Canceled, mutex.Unlock(ctx))
	require.Equal(t, key, mutex.Key())
	require.NoError(t, mutex.Unlock(guarded(t)))
	require.Nil(t, get(t, c.Client(t), key))
	require.Empty(t, mutex.Key())
	require.Equal(t, concurrency.ErrLockReleased, mutex.Unlock(guarded(t)))
}

func TestAWaiterWhoseSessionIsClosedIsTold(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "/my-lock/"
	first := concurrency.NewMutex(newMember(t, c).Session, name)
	require.NoError(t, first.Lock(guarded(t)))
	m := newMember(t, c)
	done := m.waiting(t, func() error { return concurrency.NewMutex(m.Session, name).Lock(guarded(t)) })
	require.NoError(t, m.Close())
	require.Equal(t, concurrency.ErrSessionExpired, await(t, done, "Lock returns"))
	require.NoError(t, first.Unlock(guarded(t)))
}

// A waiter must not take the end of a session behind the holder for its turn.
func TestAWaiterWaitsForTheHolderWhateverLeavesBetweenThem(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "m"
	holder := concurrency.NewMutex(newMember(t, c).Session, name)
	require.NoError(t, holder.Lock(guarded(t)))
	between, last := newMember(t, c), newMember(t, c)
	betweenDone := between.waiting(t, func() error { return concurrency.NewMutex(between.Session, name).Lock(guarded(t)) })
	lastDone := last.waiting(t, func() error { return concurrency.NewMutex(last.Session, name).Lock(guarded(t)) })
	require.NoError(t, between.Close())
	require.Error(t, await(t, betweenDone, "Lock returns"))
	requirePending(t, lastDone)
	require.NoError(t, holder.Unlock(guarded(t)))
	requireSuccess(t, lastDone)
}

func TestLockReturnsItsContextsOwnErrorAndLeavesNothing(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "m"
	holder := concurrency.NewMutex(newMember(t, c).Session, name)
	require.NoError(t, holder.Lock(guarded(t)))
	m := newMember(t, c)
	ctx, cancel := context.WithCancel(guarded(t))
	done := m.waiting(t, func() error { return concurrency.NewMutex(m.Session, name).Lock(ctx) })
	cancel()
	require.Equal(t, context.Canceled, await(t, done, "Lock returns"))
	eventually(t, func() bool { return get(t, c.Client(t), fmt.Sprintf("%s/%x", name, int64(m.Lease()))) == nil }, "the entry is removed")
	require.Equal(t, context.Canceled, concurrency.NewMutex(m.Session, name).Lock(ctx))
}

func TestASessionTakesItsOwnMutexOnceMore(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, m := c.Prefix(t)+"m", newMember(t, c)
	one, two := concurrency.NewMutex(m.Session, name), concurrency.NewMutex(m.Session, name)
	require.NoError(t, one.Lock(guarded(t)))
	require.NoError(t, one.Lock(guarded(t)))
	require.NoError(t, two.Lock(guarded(t)))
	require.NoError(t, two.TryLock(guarded(t)))
	require.Equal(t, one.Key(), two.Key())
	require.NoError(t, one.Unlock(guarded(t)))
	require.Nil(t, get(t, m.client, two.Key()), "given up for both")
	require.NoError(t, two.Unlock(guarded(t)))
	require.Equal(t, concurrency.ErrLockReleased, two.Unlock(guarded(t)))

	// Two who wait are granted together.
	other := concurrency.NewMutex(newMember(t, c).Session, name)
	require.NoError(t, other.Lock(guarded(t)))
	first := m.waiting(t, func() error { return one.Lock(guarded(t)) })
	second := soon(func() error { return two.Lock(guarded(t)) })
	require.Equal(t, concurrency.ErrLocked, concurrency.NewMutex(m.Session, name).TryLock(guarded(t)))
	require.NoError(t, other.Unlock(guarded(t)))
	requireSuccess(t, first)
	requireSuccess(t, second)
	require.NoError(t, two.Unlock(guarded(t)))
}

// What it remembers may be another's by now.
func TestASessionTakesAMutexOnceMoreOnlyIfItStillHasIt(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, m := c.Prefix(t)+"m", newMember(t, c)
	one, other := concurrency.NewMutex(m.Session, name), concurrency.NewMutex(newMember(t, c).Session, name)
	require.NoError(t, one.Lock(guarded(t)))
	remove(t, c.Client(t), one.Key())
	require.NoError(t, other.Lock(guarded(t)))
	require.Equal(t, concurrency.ErrLocked, concurrency.NewMutex(m.Session, name).TryLock(guarded(t)))
	ctx, cancel := context.WithTimeout(guarded(t), 300*time.Millisecond)
	defer cancel()
	require.Equal(t, context.DeadlineExceeded, one.Lock(ctx))
	require.NoError(t, other.Unlock(guarded(t)))
	require.NoError(t, one.Lock(guarded(t)))
	require.Equal(t, get(t, m.client, one.Key()).CreateRevision, one.Header().Revision)
	require.NoError(t, one.Unlock(guarded(t)))

	e, rival := concurrency.NewElection(m.Session, name), concurrency.NewElection(newMember(t, c).Session, name)
	require.NoError(t, e.Campaign(guarded(t), "a"))
	remove(t, c.Client(t), e.Key())
	require.NoError(t, rival.Campaign(guarded(t), "b"))
	ctx, cancel = context.WithTimeout(guarded(t), 300*time.Millisecond)
	defer cancel()
	require.Equal(t, context.DeadlineExceeded, e.Campaign(ctx, "c"))
	require.NoError(t, rival.Proclaim(guarded(t), "it leads"))
}

func TestWithStrictGoroutinesOfASessionExcludeEachOther(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, m := c.Prefix(t)+"m", newMember(t, c, concurrency.WithStrict())
	one, two := concurrency.NewMutex(m.Session, name), concurrency.NewMutex(m.Session, name)
	require.NoError(t, one.Lock(guarded(t)))
	require.Equal(t, concurrency.ErrLocked, two.TryLock(guarded(t)))
	done := m.waiting(t, func() error { return two.Lock(guarded(t)) })
	requirePending(t, done)
	require.NoError(t, one.Unlock(guarded(t)))
	requireSuccess(t, done)
	require.NoError(t, two.Unlock(guarded(t)))

	a, b := concurrency.NewElection(m.Session, name+"e"), concurrency.NewElection(m.Session, name+"e")
	require.NoError(t, a.Campaign(guarded(t), "a"))
	done = m.waiting(t, func() error { return b.Campaign(guarded(t), "b") })
	requirePending(t, done)
	require.NoError(t, a.Resign(guarded(t)))
	requireSuccess(t, done)
}

func TestAProcessTakesUpTheLockThatTheOneBeforeHasLeft(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, before := c.Prefix(t)+"m", newMember(t, c)
	mutex := concurrency.NewMutex(before.Session, name)
	require.NoError(t, mutex.Lock(guarded(t)))
	key, rev := mutex.Key(), mutex.Header().Revision
	next := newMember(t, c)
	done := next.waiting(t, func() error { return concurrency.NewMutex(next.Session, name).Lock(guarded(t)) })
	before.Orphan()

	after := newMember(t, c, concurrency.WithLease(before.Lease()))
	again := concurrency.NewMutex(after.Session, name)
	require.NoError(t, again.Lock(guarded(t)))
	require.Equal(t, key, again.Key())
	require.Equal(t, rev, again.Header().Revision)
	requirePending(t, done)
	after.Orphan()
	third := newMember(t, c, concurrency.WithLease(before.Lease()))
	again = concurrency.NewMutex(third.Session, name)
	require.NoError(t, again.TryLock(guarded(t)))
	require.Equal(t, rev, again.Header().Revision)
	requirePending(t, done)
	require.NoError(t, again.Unlock(guarded(t)))
	requireSuccess(t, done)
}

func TestALockerExcludesAndPanicsWhereThereIsNoErrorToReturn(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "m"
	inside := 0
	var wg sync.WaitGroup
	for range 3 {
		l := concurrency.NewLocker(newMember(t, c).Session, name)
		wg.Go(func() {
			for range 5 {
				l.Lock()
				inside++ // the race detector watches
				l.Unlock()
			}
		})
	}
	wg.Wait()
	require.Equal(t, 15, inside)
	l := concurrency.NewLocker(newMember(t, c).Session, name)
	require.PanicsWithValue(t, concurrency.ErrLockReleased, l.Unlock)
}
