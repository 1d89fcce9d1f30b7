package concurrency_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// Else a session waits for the end of its own lease, which it keeps alive.
func TestWhatTheProcessBeforeHasLeftIsTakenUpInAnyOfItsKeys(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, opts := range map[string][]concurrency.SessionOption{"by default": nil, "strict": {concurrency.WithStrict()}} {
		for _, suffix := range []string{"", "-1", "-12"} {
			before := newMember(t, c)
			name := c.Prefix(t) + what + suffix
			key := func(kind string) string { return fmt.Sprintf("%s%s/%x%s", name, kind, int64(before.Lease()), suffix) }
			mutexRev := put(t, c.Client(t), key("m"), "", clientv3.WithLease(before.Lease()))
			electionRev := put(t, c.Client(t), key("e"), "old", clientv3.WithLease(before.Lease()))
			before.Orphan()
			after := newMember(t, c, append(opts, concurrency.WithLease(before.Lease()))...)
			ctx, cancel := context.WithCancel(guarded(t))
			mutex := concurrency.NewMutex(after.Session, name+"m")
			require.NoError(t, mutex.Lock(ctx), "%s%s", what, suffix)
			require.Equal(t, key("m"), mutex.Key())
			require.Equal(t, mutexRev, mutex.Header().Revision)
			require.NoError(t, mutex.Unlock(ctx))
			require.NoError(t, mutex.TryLock(ctx))
			require.NotEqual(t, mutexRev, mutex.Header().Revision, "another")
			require.NoError(t, mutex.Unlock(ctx))

			e := concurrency.NewElection(after.Session, name+"e")
			require.NoError(t, e.Campaign(ctx, "new"), "%s%s", what, suffix)
			require.Equal(t, key("e"), e.Key())
			require.Equal(t, electionRev, e.Rev())
			require.Equal(t, "new", string(get(t, c.Client(t), key("e")).Value))
			require.NoError(t, e.Resign(ctx))
			cancel()
		}
	}
}

func TestKeysOfOthersAreNotTakenForWhatIsLeft(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, before, other := c.Prefix(t)+"m", newMember(t, c), newMember(t, c)
	own := fmt.Sprintf("%s/%x", name, int64(before.Lease()))
	put(t, c.Client(t), own+"-1", "", clientv3.WithLease(other.Lease()))
	put(t, c.Client(t), own+"-x", "", clientv3.WithLease(before.Lease()))
	put(t, c.Client(t), own+"-1/sub", "", clientv3.WithLease(before.Lease()))
	before.Orphan()
	after := newMember(t, c, concurrency.WithLease(before.Lease()))
	mutex := concurrency.NewMutex(after.Session, name)
	require.Equal(t, concurrency.ErrLocked, mutex.TryLock(guarded(t)))
	ctx, cancel := context.WithTimeout(guarded(t), 100*time.Millisecond)
	defer cancel()
	require.Equal(t, context.DeadlineExceeded, mutex.Lock(ctx))
}

func TestTryLockTakesUpWhatIsLeftOnlyIfNobodyIsBeforeIt(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, opts := range map[string][]concurrency.SessionOption{"by default": nil, "strict": {concurrency.WithStrict()}} {
		name, before := c.Prefix(t)+what, newMember(t, c)
		other := concurrency.NewMutex(newMember(t, c).Session, name)
		require.NoError(t, other.Lock(guarded(t)))
		rev := put(t, c.Client(t), fmt.Sprintf("%s/%x-2", name, int64(before.Lease())), "", clientv3.WithLease(before.Lease()))
		before.Orphan()
		after := newMember(t, c, append(opts, concurrency.WithLease(before.Lease()))...)
		mutex := concurrency.NewMutex(after.Session, name)
		require.Equal(t, concurrency.ErrLocked, mutex.TryLock(guarded(t)), what)
		require.NoError(t, other.Unlock(guarded(t)))
		require.NoError(t, mutex.TryLock(guarded(t)), what)
		require.Equal(t, rev, mutex.Header().Revision, what)
		require.NoError(t, mutex.Unlock(guarded(t)))
	}
}

func TestGoroutinesOfAStrictSessionTakeUpWhatIsLeftOneByOne(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, before := c.Prefix(t), newMember(t, c)
	mutex := concurrency.NewMutex(before.Session, name+"m")
	require.NoError(t, mutex.Lock(guarded(t)))
	e := concurrency.NewElection(before.Session, name+"e")
	require.NoError(t, e.Campaign(guarded(t), "a"))
	before.Orphan()
	after := newMember(t, c, concurrency.WithLease(before.Lease()), concurrency.WithStrict())
	one, two := concurrency.NewMutex(after.Session, name+"m"), concurrency.NewMutex(after.Session, name+"m")
	require.NoError(t, one.Lock(guarded(t)))
	require.Equal(t, mutex.Header().Revision, one.Header().Revision)
	require.Equal(t, concurrency.ErrLocked, two.TryLock(guarded(t)))
	done := after.waiting(t, func() error { return two.Lock(guarded(t)) })
	requirePending(t, done)
	require.NoError(t, one.Unlock(guarded(t)))
	requireSuccess(t, done)
	require.NoError(t, two.Unlock(guarded(t)))

	// Who resumes it has it, too.
	leads := concurrency.ResumeElection(after.Session, name+"e", e.Key(), e.Rev())
	require.NoError(t, leads.Proclaim(guarded(t), "b"))
	next := concurrency.NewElection(after.Session, name+"e")
	done = after.waiting(t, func() error { return next.Campaign(guarded(t), "c") })
	requirePending(t, done)
	require.NoError(t, leads.Resign(guarded(t)))
	requireSuccess(t, done)
	require.NoError(t, next.Resign(guarded(t)))

	// It may campaign itself.
	after.Orphan()
	rev := put(t, c.Client(t), e.Key(), "left", clientv3.WithLease(before.Lease()))
	after = newMember(t, c, concurrency.WithLease(before.Lease()), concurrency.WithStrict())
	leads = concurrency.ResumeElection(after.Session, name+"e", e.Key(), rev)
	require.NoError(t, leads.Proclaim(guarded(t), "e"))
	require.NoError(t, leads.Campaign(guarded(t), "f"))
	require.Equal(t, rev, leads.Rev())
	require.NoError(t, leads.Resign(guarded(t)))
	eventually(t, func() bool { return concurrency.Names(after.Session) == 0 }, "nothing is kept")
}

func TestGoroutinesOfAStrictSessionLookForWhatIsLeftOnce(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	before := newMember(t, c)
	before.Orphan()
	var requests []int
	for _, opts := range [][]concurrency.SessionOption{nil, {concurrency.WithLease(before.Lease())}} {
		m := newMember(t, c, append(opts, concurrency.WithStrict())...)
		for late := true; late; {
			name := c.Prefix(t) + "m"
			holder, next := concurrency.NewMutex(m.Session, name), concurrency.NewMutex(m.Session, name)
			require.NoError(t, holder.Lock(guarded(t)))
			m.rec.Reset()
			began := time.Now()
			require.Equal(t, concurrency.ErrLocked, concurrency.NewMutex(m.Session, name).TryLock(guarded(t)))
			done := m.waiting(t, func() error { return next.Lock(guarded(t)) })
			n := m.rec.Count("Txn") + m.rec.Count("Range")
			late = time.Since(began) > time.Second // something may have been asked again
			require.NoError(t, holder.Unlock(guarded(t)))
			requireSuccess(t, done)
			require.NoError(t, next.Unlock(guarded(t)))
			if !late {
				requests = append(requests, n)
			}
		}
	}
	require.Equal(t, requests[0], requests[1], "as many as with a lease that was not adopted")
}

// The key of the first is yet to be removed when the second finds it.
func TestALockSoonAfterOneThatHasTimedOutQueuesAnew(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, before, client := c.Prefix(t)+"m", newMember(t, c), newHindered(t, c)
	before.Orphan()
	other := concurrency.NewMutex(newMember(t, c).Session, name)
	require.NoError(t, other.Lock(guarded(t)))
	waits := make(chan string, 10)
	after := newSession(t, client.Client, concurrency.WithLease(before.Lease()), tellWaits(waits))
	removing, release := make(chan struct{}), make(chan struct{})
	client.hinder(deletes, func(ctx context.Context) error {
		close(removing)
		return until(ctx, release)
	})
	mutex := concurrency.NewMutex(after, name)
	ctx, cancel := context.WithCancel(guarded(t))
	first := soon(func() error { return mutex.Lock(ctx) })
	await(t, waits, "the first waits")
	cancel()
	require.Equal(t, context.Canceled, await(t, first, "the first returns"))
	requireClosed(t, removing)
	second := soon(func() error { return mutex.Lock(guarded(t)) })
	select {
	case <-waits:
	case err := <-second:
		require.FailNow(t, "the second does not wait", "%v", err)
	}
	close(release)
	requirePending(t, second)
	require.NoError(t, other.Unlock(guarded(t)))
	requireSuccess(t, second)
	require.NoError(t, mutex.Unlock(guarded(t)))
}

// It was asked while nobody of the session waited yet.
func TestTryLockDoesNotWaitForAnotherGoroutineThatBeginsToWait(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, before := c.Prefix(t)+"m", newMember(t, c)
	before.Orphan()
	other := concurrency.NewMutex(newMember(t, c).Session, name)
	require.NoError(t, other.Lock(guarded(t)))
	after := newMember(t, c, concurrency.WithLease(before.Lease()))
	asked, release := make(chan struct{}), make(chan struct{})
	first(after.rec, "Range", func(ctx context.Context) error {
		close(asked)
		return until(ctx, release)
	})
	locked := soon(func() error { return concurrency.NewMutex(after.Session, name).Lock(guarded(t)) })
	requireClosed(t, asked)
	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	tried := soon(func() error { return concurrency.NewMutex(after.Session, name).TryLock(ctx) })
	eventually(t, func() bool { return concurrency.Users(after.Session) == 2 }, "both have come")
	close(release)
	await(t, after.waits, "the first waits")
	require.Equal(t, concurrency.ErrLocked, await(t, tried, "TryLock returns"))
	require.NoError(t, other.Unlock(guarded(t)))
	requireSuccess(t, locked)
}

// A program may have a mutex for each of any number of things.
func TestASessionKeepsNothingOfNamesThatItIsDoneWith(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, m := c.Prefix(t), newMember(t, c)
	for i := range 5 {
		mutex, e := concurrency.NewMutex(m.Session, fmt.Sprint(name, i)), concurrency.NewElection(m.Session, fmt.Sprint(name, "e", i))
		require.NoError(t, mutex.Lock(guarded(t)))
		require.Equal(t, concurrency.ErrLocked, concurrency.NewMutex(newMember(t, c).Session, fmt.Sprint(name, i)).TryLock(guarded(t)))
		require.NoError(t, e.Campaign(guarded(t), "a"))
		require.Equal(t, 3, concurrency.Names(m.Session))
		require.NoError(t, mutex.Unlock(guarded(t)))
		require.NoError(t, e.Resign(guarded(t)))
		eventually(t, func() bool { return concurrency.Names(m.Session) == 0 }, "nothing is kept")
	}
}

// Else it stays, renewed, and everybody waits behind it.
func TestWhatAGoroutineOfAStrictSessionHasNotTakenUpInTimeIsLeftForTheNext(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, before := c.Prefix(t)+"m", newMember(t, c)
	key := fmt.Sprintf("%s/%x", name, int64(before.Lease()))
	put(t, c.Client(t), key, "", clientv3.WithLease(before.Lease()))
	rev := put(t, c.Client(t), key+"-1", "", clientv3.WithLease(before.Lease()))
	before.Orphan()
	after := newMember(t, c, concurrency.WithLease(before.Lease()), concurrency.WithStrict())
	first := concurrency.NewMutex(after.Session, name)
	require.NoError(t, first.Lock(guarded(t)))
	require.Equal(t, key, first.Key())

	ctx, cancel := context.WithCancel(guarded(t))
	stop := after.rec.Hook("Range", func(ctx context.Context, _ any, _ func() error) error {
		cancel()
		return until(ctx, nil)
	})
	require.Equal(t, context.Canceled, concurrency.NewMutex(after.Session, name).Lock(ctx))
	stop()
	ctx, cancel = context.WithCancel(guarded(t))
	defer cancel()
	next := concurrency.NewMutex(after.Session, name)
	for len(after.waits) > 0 {
		<-after.waits
	}
	done := after.waiting(t, func() error { return next.Lock(ctx) })
	require.NoError(t, first.Unlock(guarded(t)))
	requireSuccess(t, done)
	require.Equal(t, rev, next.Header().Revision)
	require.NoError(t, next.Unlock(guarded(t)))
}
