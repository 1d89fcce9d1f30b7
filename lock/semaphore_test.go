package lock_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/lock"
)

func TestPermitsOutOfRangeAreRefusedWithoutARequest(t *testing.T) {
	t.Parallel()
	p := newPeer(t, etcdtest.New(t), withTTL(calm))
	p.Rec.Reset()
	for _, n := range []int{-1, 0, lock.MaxPermits + 1} {
		_, err := lock.NewSemaphore(p.Session, "m", n)
		require.EqualError(t, err, fmt.Sprintf("lock: %d permits: must be from 1 to %d", n, lock.MaxPermits))
	}
	s := p.semaphore(t, "m", 3)
	never := func(context.Context, *lock.Hold) error {
		t.Error("fn was called")
		return nil
	}
	for _, n := range []int{-1, 0, 4} {
		_, acquireErr := s.Acquire(guarded(t), n)
		_, tryErr := s.TryAcquire(guarded(t), n)
		for _, err := range []error{acquireErr, tryErr, s.Do(guarded(t), n, never), s.TryDo(guarded(t), n, never)} {
			require.EqualError(t, err, fmt.Sprintf(`lock: acquiring %d permits of "m": must be from 1 to 3`, n))
		}
	}
	require.Empty(t, p.Rec.Calls())
}

func TestPermitsAreSharedAndComeBackWithUnlock(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, q, name := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	two, three := p.take(t, permits(2, 6), name), q.take(t, permits(3, 6), name)
	s := p.semaphore(t, name, 6)
	_, err := s.TryAcquire(guarded(t), 2)
	var locked *lock.LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, name, locked.Name)
	require.Equal(t, two.Key(), locked.Key, "the oldest holder")
	one, err := s.TryAcquire(guarded(t), 1)
	require.NoError(t, err)
	waits, _ := q.queueUpTo(guarded(t), t, permits(4, 6), name)
	unlock(t, one)
	stillWaits(t, waits)
	_, err = s.TryAcquire(guarded(t), 1)
	require.ErrorIs(t, err, lock.ErrLocked, "there is one, but somebody waits")
	unlock(t, three)
	four := granted(t, waits)
	unlock(t, two)
	unlock(t, four)
	unlock(t, p.take(t, permits(6, 6), name))
	require.Empty(t, queueOf(t, p.Client, name))
}

func TestPermitsAreGrantedInOrderSoThatALargeRequestIsNotStarved(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	peers, name := newPeers(t, c, 3, withTTL(calm)), c.Prefix(t)+"m"
	holds := []*lock.Hold{peers[0].take(t, permits(2, 4), name), peers[1].take(t, permits(1, 4), name)}
	// One permit is left, but the first who waits wants all.
	large, _ := peers[2].queueUpTo(guarded(t), t, permits(4, 4), name)
	small := make([]<-chan outcome, 6)
	for i := range small {
		small[i], _ = peers[i%len(peers)].queueUpTo(guarded(t), t, permits(1, 4), name)
	}
	for _, h := range holds {
		stillWaits(t, large)
		unlock(t, h)
	}
	h := granted(t, large)
	for _, done := range small {
		stillWaits(t, done)
	}
	unlock(t, h)
	holds = nil
	for _, done := range small[:4] {
		holds = append(holds, granted(t, done))
	}
	for i, done := range small[4:] {
		stillWaits(t, done)
		unlock(t, holds[i])
		holds = append(holds, granted(t, done))
	}
	for _, h := range holds[2:] {
		unlock(t, h)
	}
}

func TestAllWhoFitAreGrantedAfterALargeRequestGivesUp(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, q, name := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	h := p.take(t, permits(1, 4), name)
	ctx, cancel := context.WithCancel(guarded(t))
	large, _ := p.queueUpTo(ctx, t, permits(4, 4), name)
	var small []<-chan outcome
	for range 4 {
		done, _ := q.queueUpTo(guarded(t), t, permits(1, 4), name)
		small = append(small, done)
	}
	cancel()
	require.ErrorIs(t, await(t, large, "Acquire returns").err, context.Canceled)
	holds := []*lock.Hold{h}
	for _, done := range small[:3] {
		holds = append(holds, granted(t, done))
	}
	stillWaits(t, small[3])
	for _, h := range holds {
		unlock(t, h)
	}
	unlock(t, granted(t, small[3]))
}

func TestPermitsOfALostHolderComeBackWithItsLease(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "m"
	dying, p := newPeer(t, c, withTTL(unhurried)), newPeer(t, c, withTTL(calm))
	h, stays := dying.take(t, permits(2, 3), name), p.take(t, permits(1, 3), name)
	waits, _ := p.queueUpTo(guarded(t), t, permits(2, 3), name)
	dying.Net.Cut()
	next := granted(t, waits)
	lost(t, h)
	require.NoError(t, stays.Err())
	unlock(t, next)
	unlock(t, stays)
}

// acquiring calls Acquire and TryAcquire.
var acquiring = map[string]func(*lock.Semaphore, context.Context, int) (*lock.Hold, error){
	"Acquire": (*lock.Semaphore).Acquire, "TryAcquire": (*lock.Semaphore).TryAcquire,
}

func TestAnotherNumberOfPermitsIsRefusedNamingBoth(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, acquire := range acquiring {
		for _, lostReplies := range []int{0, 1, 2} {
			p, other, name := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
			h := p.take(t, permits(1, 3), name)
			other.Rec.DropReplies("Txn", lostReplies)
			_, err := acquire(other.semaphore(t, name, 5), guarded(t), 1)
			var refused *lock.PermitsError
			require.ErrorAs(t, err, &refused, "%s, %d replies lost", what, lostReplies)
			require.Equal(t, lock.PermitsError{Name: name, Permits: 5, Agreed: 3, Key: h.Key()}, *refused)
			require.ErrorContains(t, err, "has 5 permits here, but its users count with 3")
			require.NotErrorIs(t, err, lock.ErrLocked)
			awaitQueue(t, p.Client, name, 1)
			unlock(t, h)
			unlock(t, other.take(t, permits(5, 5), name)) // nobody is left to disagree
		}
	}
}

// Who is refused must not be in the way of others, however long its entry stays.
func TestWhoCountsWithOtherPermitsDoesNotMakeOthersFail(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, other, name := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	h := p.take(t, permits(1, 3), name)
	// From its second transaction on it is cut off: what it has put stays.
	var sent atomic.Int64
	other.Rec.Hook("Txn", func(ctx context.Context, _ any, invoke func() error) error {
		if sent.Add(1) == 1 {
			return invoke()
		}
		<-ctx.Done()
		return ctx.Err()
	})
	_, err := other.semaphore(t, name, 5).Acquire(guarded(t), 1)
	var refused *lock.PermitsError
	require.ErrorAs(t, err, &refused)
	unlock(t, h)
	h, err = p.semaphore(t, name, 3).TryAcquire(guarded(t), 1)
	require.NoError(t, err)
	unlock(t, h)
	unlock(t, p.take(t, permits(1, 3), name))
}

func TestThereAreNeverMoreHoldersThanPermits(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	const all = 5
	peers, name := newPeers(t, c, 3, withTTL(calm)), c.Prefix(t)+"m"
	var taken atomic.Int64
	inside := func(n int64) func(context.Context, *lock.Hold) error {
		return func(ctx context.Context, h *lock.Hold) error {
			if now := taken.Add(n); now > all {
				t.Errorf("%d of %d permits are taken", now, all)
			}
			pause(ctx, aBit/50)
			taken.Add(-n)
			return h.Err()
		}
	}
	var wg sync.WaitGroup
	for i := range 12 {
		s := peers[i%len(peers)].semaphore(t, name, all)
		random := rand.New(rand.NewPCG(uint64(i), 1))
		wg.Go(func() {
			for range suite.Long(8, 25) {
				n := 1 + random.IntN(all)
				if err := s.Do(guarded(t), n, inside(int64(n))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	one, others := peers[0].take(t, permits(1, all), name), peers[1].take(t, permits(all-1, all), name)
	unlock(t, one)
	unlock(t, others)
	awaitQueue(t, peers[0].Client, name, 0)
}

// The entries of a semaphore say what their weights are; one put by hand counts for one.
func TestEntriesPutByHandTakeOnePermit(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	key := name + "/~semaphore/3/by hand"
	put(t, p.Client, key, "")
	h := p.take(t, permits(2, 3), name)
	entries := queueOf(t, p.Client, name)
	require.Len(t, entries, 2)
	require.True(t, entries[0].Held())
	require.True(t, entries[1].Held(), "it was granted")
	waits, _ := p.queueUpTo(guarded(t), t, permits(1, 3), name)
	remove(t, p.Client, key)
	unlock(t, granted(t, waits))
	unlock(t, h)
}

func TestAPermitsErrorIsWorthTelling(t *testing.T) {
	t.Parallel()
	err := &lock.PermitsError{Name: "m", Permits: 5, Agreed: 3, Key: "k"}
	require.EqualError(t, err, `lock: semaphore "m" has 5 permits here, but its users count with 3 (key "k")`)
}
