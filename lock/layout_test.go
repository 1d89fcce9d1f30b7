package lock_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/lock"
)

func TestEtcdLayoutQueuesWithTheOfficialClient(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "m"
	layout := lock.WithEtcdLayout()
	s, rec, _ := official(t, c)
	theirs := concurrency.NewMutex(s, name)
	ours := newPeer(t, c)

	// They hold, we wait; then they wait for us.
	require.NoError(t, theirs.Lock(guarded(t)))
	_, err := ours.mutex(t, name, layout).TryLock(guarded(t))
	var locked *lock.LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, theirs.Key(), locked.Key)
	require.Empty(t, locked.Owner)
	require.True(t, locked.Since.IsZero())

	done, e := ours.queueUp(guarded(t), t, name, layout)
	require.Equal(t, fmt.Sprintf("%s/%x", name, int64(ours.LeaseID(t))), e.Key, "where they would put it")
	require.Equal(t, theirs.Key(), e.Predecessor)
	entries := queueOf(t, c.Client(t), name, layout)
	require.Equal(t, []string{theirs.Key(), e.Key}, keys(entries))
	require.Empty(t, entries[0].Owner)
	require.Equal(t, s.Lease(), entries[0].Lease)
	require.NotEmpty(t, entries[1].Owner)
	require.Empty(t, queueOf(t, c.Client(t), name), "the other layout is another queue")

	require.NoError(t, theirs.Unlock(guarded(t)))
	h := granted(t, done)
	require.ErrorIs(t, theirs.TryLock(guarded(t)), concurrency.ErrLocked)
	locking := make(chan error, 1)
	go func() { locking <- theirs.Lock(guarded(t)) }()
	eventually(t, func() bool { w := peertest.WatchesIn(rec); return len(w) > 0 && w[0].Created != 0 }, "they wait")
	select {
	case err := <-locking:
		require.Fail(t, "both have it", "%v", err)
	default:
	}
	unlock(t, h)
	require.NoError(t, await(t, locking, "they are granted"))
	require.NoError(t, theirs.Unlock(guarded(t)))
}

func TestEtcdLayoutExcludesAMixedFleet(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "m"
	var inside, visits atomic.Int64
	visit := func() {
		if inside.Add(1) != 1 {
			t.Error("two are inside")
		}
		visits.Add(1)
		runtime.Gosched()
		inside.Add(-1)
	}
	var wg sync.WaitGroup
	for range 3 {
		p := newPeer(t, c)
		m := p.mutex(t, name, lock.WithEtcdLayout())
		for range 2 { // two of one session, which they cannot
			wg.Go(func() {
				for range 8 {
					if err := m.Do(guarded(t), func(context.Context, *lock.Hold) error { visit(); return nil }); err != nil {
						t.Error(err)
					}
				}
			})
		}
		s, _, _ := official(t, c)
		theirs := concurrency.NewMutex(s, name)
		wg.Go(func() {
			for range 8 {
				if err := theirs.Lock(guarded(t)); err != nil {
					t.Error(err)
					return
				}
				visit()
				if err := theirs.Unlock(guarded(t)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 3*3*8, visits.Load())
	require.Empty(t, queueOf(t, c.Client(t), name, lock.WithEtcdLayout()))
}

// `etcdctl lock` uses the key "<name>/<lease in hex>" with no value. People also put
// and delete such keys by hand.
func TestEtcdLayoutWaitsForKeysOfEtcdctl(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator, name := c.Client(t), c.Prefix(t)+"m"
	layout := lock.WithEtcdLayout()
	p := newPeer(t, c)
	l, err := operator.Grant(guarded(t), 100)
	require.NoError(t, err)
	withLease := fmt.Sprintf("%s/%x", name, int64(l.ID))
	put(t, operator, withLease, "", clientv3.WithLease(l.ID))
	byHand := name + "/somebody"
	put(t, operator, byHand, "until noon")

	done, e := p.queueUp(guarded(t), t, name, layout)
	require.Equal(t, byHand, e.Predecessor)
	entries := queueOf(t, operator, name, layout)
	require.Equal(t, []string{withLease, byHand, e.Key}, keys(entries))
	require.Equal(t, l.ID, entries[0].Lease)
	require.Zero(t, entries[1].Lease)

	watched := p.NextWatch(t)
	remove(t, operator, byHand)
	watched(withLease, e.Key)
	stillWaits(t, done)
	revoke(t, operator, l.ID)
	unlock(t, granted(t, done))
}

func TestEtcdLayoutSharesALeaseWithTheOfficialClient(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "m"
	p := newPeer(t, c, withTTL(unhurried))
	s, err := concurrency.NewSession(c.Client(t), concurrency.WithLease(p.LeaseID(t)))
	require.NoError(t, err)
	t.Cleanup(s.Orphan)
	theirs := concurrency.NewMutex(s, name)
	require.NoError(t, theirs.Lock(guarded(t)))
	// The key that ours would use is theirs.
	done, e := p.queueUp(guarded(t), t, name, lock.WithEtcdLayout())
	require.Equal(t, theirs.Key(), e.Predecessor)
	require.Equal(t, theirs.Key()+"-1", e.Key)
	p.awaitRounds(t, 2)
	require.NotNil(t, get(t, p.Client, theirs.Key()), "what is not ours is not removed")
	stillWaits(t, done)
	require.NoError(t, theirs.Unlock(guarded(t)))
	unlock(t, granted(t, done))
}

func TestEtcdLayoutLockWaitsForLocksWhoseNamesExtendItsOwn(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, prefix, layout := newPeer(t, c), c.Prefix(t), lock.WithEtcdLayout()
	h := p.lock(t, prefix+"a/b", layout)
	_, err := p.mutex(t, prefix+"a", layout).TryLock(guarded(t))
	require.ErrorIs(t, err, lock.ErrLocked, "as documented, and as it is in that library")
	unlock(t, h)
}

// A lock of that layout has others within it, whose entries must not have its revision.
func TestNoTwoLocksOfEtcdLayoutArePutTogether(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, prefix := newPeer(t, c, withTTL(calm)), c.Prefix(t)
	const many = 50
	done := make(chan error, many)
	for i := range many {
		go func() {
			m, err := lock.NewMutex(p.Session, fmt.Sprintf("%s%d", prefix, i), lock.WithEtcdLayout())
			if err == nil {
				err = m.Do(guarded(t), func(context.Context, *lock.Hold) error { return nil })
			}
			done <- err
		}()
	}
	for range many {
		require.NoError(t, await(t, done, "Do returns"))
	}
	for _, call := range p.Rec.Calls() {
		if req, ok := call.Request.(*pb.TxnRequest); ok && call.IsWrite() {
			n := 0
			for _, op := range req.Success {
				if op.GetRequestPut() != nil || op.GetRequestDeleteRange() != nil {
					n++
				}
			}
			require.Equal(t, 1, n)
		}
	}
}

// One session waits for "a" behind its own entry of "a/b". That this was the oldest of its own
// queue says nothing of the queue that it is within.
func TestEtcdLayoutLockBehindOneOfTheSessionsOwnWithinIt(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	layout, a := lock.WithEtcdLayout(), c.Prefix(t)+"a"
	b := a + "/b"
	first, other, p := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
	held := first.lock(t, b, layout)
	others, _ := other.queueUp(guarded(t), t, a, layout)
	inner, _ := p.queueUp(guarded(t), t, b, layout)
	outer, e := p.queueUp(guarded(t), t, a, layout)
	unlock(t, held)
	holder, within := granted(t, others), granted(t, inner)
	require.Equal(t, within.Key(), e.Predecessor)
	unlock(t, within)
	p.AwaitWatch(t, holder.Key(), e.Key)
	stillWaits(t, outer)
	unlock(t, holder)
	unlock(t, granted(t, outer))
}

func TestEtcdLayoutTakesAnyPrefixByteForByte(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	layout := lock.WithEtcdLayout()
	base := c.Prefix(t)
	for i, suffix := range []string{"m/", "/m//", "a//b/", "", "~mutex", "x/~election/", "tab\tand\x00nul", "\xff\xfe", strings.Repeat("n", 2*lock.MaxName)} {
		name := fmt.Sprintf("%s%d/%s", base, i, suffix)
		s, _, _ := official(t, c)
		theirs := concurrency.NewMutex(s, name)
		ours := newPeer(t, c)
		require.NoError(t, theirs.Lock(guarded(t)))
		_, err := ours.mutex(t, name, layout).TryLock(guarded(t))
		require.ErrorIs(t, err, lock.ErrLocked, "%q: they hold it", name)
		done, e := ours.queueUp(guarded(t), t, name, layout)
		require.Equal(t, fmt.Sprintf("%s/%x", name, int64(ours.LeaseID(t))), e.Key)
		require.Equal(t, []string{theirs.Key(), e.Key}, keys(queueOf(t, c.Client(t), name, layout)))
		require.NoError(t, theirs.Unlock(guarded(t)))
		h := granted(t, done)
		require.ErrorIs(t, theirs.TryLock(guarded(t)), concurrency.ErrLocked, "%q: we hold it", name)
		unlock(t, h)
	}
}

func TestResumeTakesUpAHoldThatAnotherProcessHasLeft(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"m", newPeer(t, c)
	layout := lock.WithEtcdLayout()
	s, err := concurrency.NewSession(c.Client(t), concurrency.WithLease(p.LeaseID(t)))
	require.NoError(t, err)
	t.Cleanup(s.Orphan)
	theirs := concurrency.NewMutex(s, name)
	require.NoError(t, theirs.Lock(guarded(t)))
	created := theirs.Header().Revision

	m := p.mutex(t, name, layout)
	h, err := m.Resume(guarded(t), theirs.Key(), created)
	require.NoError(t, err)
	require.Equal(t, created, h.Token().Revision())
	require.Equal(t, created, h.Header().Revision)
	require.NotZero(t, h.Header().Cluster)
	_, err = m.Resume(guarded(t), theirs.Key(), created)
	require.ErrorContains(t, err, "in use in this process")
	resp, err := h.Txn(guarded(t)).Commit()
	require.NoError(t, err)
	require.True(t, resp.Succeeded)
	unlock(t, h)
	require.Nil(t, get(t, p.Client, theirs.Key()))

	_, err = m.Resume(guarded(t), theirs.Key(), created)
	require.ErrorIs(t, err, lock.ErrLost, "it is gone")
	require.NoError(t, theirs.Lock(guarded(t)))
	_, err = m.Resume(guarded(t), theirs.Key(), created)
	require.ErrorIs(t, err, lock.ErrLost, "it is another")
	_, err = newPeer(t, c).mutex(t, name, layout).Resume(guarded(t), theirs.Key(), get(t, p.Client, theirs.Key()).CreateRevision)
	require.ErrorIs(t, err, lock.ErrLost, "it is on another lease")
	_, err = p.mutex(t, name+"x", layout).Resume(guarded(t), theirs.Key(), created)
	require.ErrorContains(t, err, "not one of this queue")
	_, err = p.mutex(t, name, lock.WithLinger(lock.MaxLinger)).Resume(guarded(t), theirs.Key(), created)
	require.ErrorContains(t, err, "WithLinger")
}

func TestResumedWaiterIsGrantedInItsTurn(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p, q := c.Prefix(t)+"m", newPeer(t, c), newPeer(t, c)
	layout := lock.WithEtcdLayout()
	held := q.lock(t, name, layout)
	key := fmt.Sprintf("%s/%x", name, int64(p.LeaseID(t)))
	created := put(t, c.Client(t), key, "", clientv3.WithLease(p.LeaseID(t)))
	last, _ := q.queueUp(guarded(t), t, name, layout)

	done := make(chan outcome, 1)
	m := p.mutex(t, name, layout)
	go func() {
		h, err := m.Resume(guarded(t), key, created)
		done <- outcome{h, err}
	}()
	p.AwaitWatch(t, held.Key(), key)
	stillWaits(t, done)
	unlock(t, held)
	h := granted(t, done)
	stillWaits(t, last)
	unlock(t, h)
	unlock(t, granted(t, last))
}
