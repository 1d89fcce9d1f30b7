package conclavetest_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/conclavetest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

func TestCompactForgetsThePast(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		client := c.Client(t)
		put(t, client, "key")
		put(t, client, "key")
		c.Compact(t)
		_, err := client.Get(guarded(t), "key", clientv3.WithRev(2))
		require.ErrorIs(t, err, rpctypes.ErrCompacted)
		require.True(t, exists(t, client, "key"))
	})
}

func TestADeletedKeyOfALockIsALostLock(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		h := lockNow(t, newSession(t, c.Client(t), unhurried), "job")
		require.NoError(t, h.Err())
		c.DeleteKey(t, h.Key())
		await(t, h.Context().Done(), "the hold ends")
		require.ErrorIs(t, h.Err(), lock.ErrLost)
		require.NotErrorIs(t, h.Err(), lease.ErrLost, "the lease lives")
		require.Contains(t, failure(t, func(tb testing.TB) { c.DeleteKey(tb, h.Key()) }), "there is no such key")
	})
}

func TestAnExpiredLeaseTakesAllKeysOfItsSession(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		client := c.Client(t)
		s := newSession(t, client, unhurried)
		one, two := lockNow(t, s, "one"), lockNow(t, s, "two")
		c.ExpireLease(t, one.Key())
		require.False(t, exists(t, client, one.Key()))
		require.False(t, exists(t, client, two.Key()))
		await(t, two.Context().Done(), "the hold ends")
		require.ErrorIs(t, two.Err(), lock.ErrLost)
		require.Contains(t, failure(t, func(tb testing.TB) { c.ExpireLease(tb, one.Key()) }), "there is no such key")
		put(t, client, "key")
		require.Contains(t, failure(t, func(tb testing.TB) { c.ExpireLease(tb, "key") }), "not attached to a lease")
	})
}

func TestAnExpiredSessionKnowsAtOnceAndGoesOn(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		s := newSession(t, c.Client(t), calm)
		h := lockNow(t, s, "job")
		before := time.Now()
		c.ExpireSession(t, s)
		if isVirtual() {
			require.Equal(t, before, time.Now())
		}
		require.ErrorIs(t, h.Err(), lease.ErrLost)
		require.Error(t, h.Context().Err())
		require.NoError(t, lockNow(t, s, "job").Unlock(guarded(t)))
	})
}

// A session that holds very many locks has several leases.
func TestAnExpiredSessionLosesAllItsLeases(t *testing.T) {
	t.Parallel()
	c := conclavetest.NewCluster(t)
	s := newSession(t, c.Client(t), calm)
	var holds []*lock.Hold
	leases := map[clientv3.LeaseID]bool{}
	for i := range 300 {
		name := fmt.Sprintf("job %d", i)
		holds = append(holds, lockNow(t, s, name))
		leases[c.AwaitHolder(t, name).Lease] = true
	}
	require.Greater(t, len(leases), 1)
	c.ExpireSession(t, s)
	for _, h := range holds {
		require.ErrorIs(t, h.Err(), lock.ErrLost)
	}
}

func TestAnExpiredSessionThatDoesNotHealHasEnded(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		s := newSession(t, c.Client(t), calm, lease.WithoutHealing())
		h := lockNow(t, s, "job")
		c.ExpireSession(t, s)
		require.ErrorIs(t, h.Err(), lease.ErrLost)
		_, err := s.Lease(guarded(t))
		require.ErrorIs(t, err, lease.ErrLost)
		require.Contains(t, failure(t, func(tb testing.TB) { c.ExpireSession(tb, s) }), lease.ErrLost.Error(), "it is over")
	})
}

func TestExpireSessionSaysWhyItCannot(t *testing.T) {
	t.Parallel()
	c, other := conclavetest.NewCluster(t), conclavetest.NewCluster(t)
	s := newSession(t, other.Client(t), calm)
	require.Contains(t, failure(t, func(tb testing.TB) { c.ExpireSession(tb, s) }), "lease not found")
	require.NoError(t, s.Close(guarded(t)))
	require.Contains(t, failure(t, func(tb testing.TB) { c.ExpireSession(tb, s) }), lease.ErrClosed.Error())
}

func TestASessionThatIsCutOffCannotKnowThatItHasExpired(t *testing.T) {
	t.Parallel()
	conclavetest.VirtualCluster(t, func(t *testing.T, c *conclavetest.Cluster) {
		n := c.Network(t)
		s := newSession(t, n.Client(t), calm)
		n.Cut()
		require.Contains(t, failure(t, func(tb testing.TB) { c.ExpireSession(tb, s) }), "does not notice")
		n.Heal()
	})
}

func TestAwaitHolderTellsWhoHoldsTheLock(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		s := newSession(t, c.Client(t), calm)
		holds := lockSoon(t, s)
		e := c.AwaitHolder(t, "job")
		require.Equal(t, "someone", e.Owner)
		require.True(t, e.Held())
		require.Equal(t, await(t, holds, "the lock").Key(), e.Key)
	})
}

func TestAwaitWaitersReturnsThoseWhoWaitInTheirOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		s := newSession(t, c.Client(t), calm)
		h := lockNow(t, s, "job")
		first := lockSoon(t, s)
		waiting := c.AwaitWaiters(t, "job", 1)
		require.Len(t, waiting, 1)
		lockSoon(t, s)
		lockSoon(t, s)
		more := c.AwaitWaiters(t, "job", 3)
		require.Len(t, more, 3)
		require.Equal(t, waiting[0].Key, more[0].Key)
		require.NoError(t, h.Unlock(guarded(t)))
		require.Equal(t, waiting[0].Key, await(t, first, "the lock").Key())
		require.Len(t, c.AwaitWaiters(t, "job", 1), 2, "n or more")
	})
}

func TestAwaitCountsThoseOfSharedLocks(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		s := newSession(t, c.Client(t), calm)
		sem, err := lock.NewSemaphore(s, "pool", 2)
		require.NoError(t, err)
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = sem.Acquire(ctx, 1) // two are granted, the third is not
			}()
			t.Cleanup(func() { cancel(); <-done })
		}
		require.Len(t, c.AwaitWaiters(t, "pool", 1), 1)
	})
}

func TestAwaitSeesTheLayoutOfOtherLibraries(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		s := newSession(t, c.Client(t), calm)
		m, err := lock.NewMutex(s, "job", lock.WithEtcdLayout())
		require.NoError(t, err)
		h, err := m.Lock(guarded(t))
		require.NoError(t, err)
		require.Equal(t, h.Key(), c.AwaitHolder(t, "job", lock.WithEtcdLayout()).Key)
	})
}

func TestAwaitFailsWithWhatThereIs(t *testing.T) {
	t.Parallel()
	conclavetest.VirtualCluster(t, func(t *testing.T, c *conclavetest.Cluster) {
		require.Contains(t, failure(t, func(tb testing.TB) { c.AwaitHolder(tb, "job") }), `a holder of lock "job": context deadline exceeded; it has no entries`)
		h := lockNow(t, newSession(t, c.Client(t), calm), "job")
		message := failure(t, func(tb testing.TB) { c.AwaitWaiters(tb, "job", 2) })
		require.Contains(t, message, `2 waiters of lock "job"`)
		require.Contains(t, message, h.Key()+" holds it (someone)")
		require.Contains(t, failure(t, func(tb testing.TB) { c.AwaitWaiters(tb, "job", 0) }), "0 waiters: must be 1 or more")
		require.Contains(t, failure(t, func(tb testing.TB) { c.AwaitHolder(tb, "job/") }), "name")
	})
}

// awaitHolderSoon calls AwaitHolder in the background and returns once it waits.
func awaitHolderSoon(t *testing.T, c *conclavetest.Cluster) <-chan lock.Entry {
	t.Helper()
	holder := make(chan lock.Entry, 1)
	go func() { holder <- c.AwaitHolder(t, "job") }()
	conclavetest.Advance(0)
	return holder
}

func TestAwaitSurvivesACompactionAndARestart(t *testing.T) {
	t.Parallel()
	conclavetest.VirtualCluster(t, func(t *testing.T, c *conclavetest.Cluster) {
		client := c.Client(t)
		s := newSession(t, client, calm)
		holder := awaitHolderSoon(t, c)
		c.Kill(t, 0)
		conclavetest.Advance(time.Second)
		c.Restart(t, 0)
		for range 5 {
			put(t, client, "other")
		}
		c.Compact(t)
		h := lockNow(t, s, "job")
		require.Equal(t, h.Key(), await(t, holder, "the holder is seen").Key)
	})
}

// The watch says when to look: while nothing happens, nothing is asked.
func TestAwaitReadsOnlyWhenTheLockHasChanged(t *testing.T) {
	t.Parallel()
	var reads atomic.Int64
	count := grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if info.FullMethod == "/etcdserverpb.KV/Range" {
			reads.Add(1)
		}
		return handler(ctx, req)
	})
	conclavetest.VirtualClusterWith(t, func(t *testing.T, c *conclavetest.Cluster) {
		s := newSession(t, c.Client(t), calm)
		holder := awaitHolderSoon(t, c)
		conclavetest.Advance(50 * time.Second)
		lockNow(t, s, "job")
		await(t, holder, "the holder is seen")
		require.EqualValues(t, 2, reads.Load(), "one at first, one for the change")
	}, count)
}
