package redlock_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

// lockSoonVirtual calls Lock in the background, and returns once it waits.
func lockSoonVirtual(ctx context.Context, t *testing.T, nodes *redlock.Nodes, name string) <-chan outcome {
	t.Helper()
	m, err := redlock.NewMutex(nodes, name)
	require.NoError(t, err)
	done := make(chan outcome, 1)
	go func() {
		h, err := m.Lock(ctx)
		done <- outcome{h, err}
	}()
	synctest.Wait()
	return done
}

// ending is a context that is about to end: it has, and has not told yet.
type ending struct {
	context.Context
	ended atomic.Bool
}

func (e *ending) Err() error {
	if e.ended.Load() {
		return context.Canceled
	}
	return e.Context.Err()
}

func TestAWaiterThatGivesUpWhenItIsWokenPassesThatOn(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		h := lockVirtual(t, virtualNodes(t, v, n))
		waiting := virtualNodes(t, v, n)
		ctx := &ending{Context: t.Context()}
		first := lockSoonVirtual(ctx, t, waiting, name)
		second := lockSoonVirtual(t.Context(), t, waiting, name)
		stillWaits(t, first)
		ctx.ended.Store(true)
		start := time.Now()
		require.NoError(t, h.Unlock(t.Context()))
		require.ErrorIs(t, (<-first).err, context.Canceled)
		o := <-second
		require.NoError(t, o.err)
		require.Less(t, time.Since(start), maxSplitPause, "it does not wait for its next poll")
		require.NoError(t, o.hold.Unlock(t.Context()))
	})
}

// Before a majority has released the lock, to ask for it is in vain.
func TestAWaiterIsWokenByAMajorityOfReleases(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		h := lockVirtual(t, virtualNodes(t, v, n))
		apart := v.Apart()
		waiting := virtualNodes(t, apart, n)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := lockSoonVirtual(ctx, t, waiting, name)
		asked := apart.Wire(0).Calls()
		publish := func(i int, token string) {
			v.Wire(i).Redis().Publish(name+":released", token)
			synctest.Wait()
		}
		for i := range n / 2 {
			publish(i, "one")
			publish(n-1-i, "another") // other releases do not add up
		}
		require.Equal(t, asked, apart.Wire(0).Calls(), "by less than that it is not")
		publish(n/2, "one")
		require.Equal(t, asked+1, apart.Wire(0).Calls())
		stillWaits(t, done)
		cancel()
		require.ErrorIs(t, (<-done).err, context.Canceled)
		require.NoError(t, h.Unlock(t.Context()))
	})
}

// A hash tag does not make one lock of two names, nor does it tell one of them of the
// other's releases, which would be taken from its own waiters.
func TestLocksWithOneHashTagAreToldOfTheirOwnReleases(t *testing.T) {
	t.Parallel()
	const plain, tagged = "a", "{a}"
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		holder, waiting := virtualNodes(t, v, n), virtualNodes(t, v, n)
		lock := func(name string) *redlock.Hold {
			m, err := redlock.NewMutex(holder, name)
			require.NoError(t, err)
			h, err := m.TryLock(t.Context())
			require.NoError(t, err, "another lock than that of the other name")
			return h
		}
		one, two := lock(plain), lock(tagged)
		first := lockSoonVirtual(t.Context(), t, waiting, tagged)
		second := lockSoonVirtual(t.Context(), t, waiting, plain)
		start := time.Now()
		require.NoError(t, one.Unlock(t.Context()))
		o := <-second
		require.NoError(t, o.err)
		require.Less(t, time.Since(start), maxSplitPause)
		stillWaits(t, first)
		require.NoError(t, two.Unlock(t.Context()))
		require.NoError(t, o.hold.Unlock(t.Context()))
		o = <-first
		require.NoError(t, o.err)
		require.NoError(t, o.hold.Unlock(t.Context()))
	})
}

// The nodes come back while their keys are still there, and answer an extension from
// before the deadline.
func TestALostHoldStaysLostWhenNodesComeBack(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		h := lockVirtual(t, virtualNodes(t, v, n), redlock.WithoutRenewal())
		for i := range n {
			v.Wire(i).Cut()
		}
		<-time.After(valid - timeout/2)
		extended := make(chan error, 1)
		go func() { extended <- h.Extend(t.Context()) }()
		<-time.After(timeout / 2)
		synctest.Wait()
		lost(t, h)
		for i := range n {
			require.Equal(t, drift, v.Wire(i).Redis().TTL(name), "the key is still there")
			v.Wire(i).Heal()
		}
		require.ErrorIs(t, <-extended, redlock.ErrLost, "all nodes have answered in time")
		synctest.Wait()
		lost(t, h)
		require.ErrorIs(t, h.Extend(t.Context()), redlock.ErrLost)
		m, err := redlock.NewMutex(virtualNodes(t, v, n), name)
		require.NoError(t, err)
		start := time.Now()
		next, err := m.Lock(t.Context())
		require.NoError(t, err)
		require.Less(t, time.Since(start), time.Second, "the late extension does not keep the lock from others")
		lost(t, h)
		require.ErrorIs(t, h.Unlock(t.Context()), redlock.ErrLost)
		require.NoError(t, next.Extend(t.Context()), "its keys are its own")
		require.NoError(t, next.Unlock(t.Context()))
	})
}

// The node's release came before its subscription, and without it there is no quorum.
func TestAReleaseBetweenTwoSubscriptionsIsNoticed(t *testing.T) {
	t.Parallel()
	const n, names = 3, 40 // each of which asks once in 10 s
	inBubble(t, n, func(t *testing.T, v *redistest.Virtual) {
		apart := v.Apart()
		holder, waiting := virtualNodes(t, v, n), virtualNodes(t, apart, n)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		apart.Wire(n - 1).Cut()
		c := gather(ctx, t, holder, waiting, names, names, 0)
		m, err := redlock.NewMutex(holder, name, redlock.WithTTL(calm))
		require.NoError(t, err)
		h, err := m.Lock(ctx)
		require.NoError(t, err)
		done := lockSoonVirtual(ctx, t, waiting, name)
		stillWaits(t, done)
		start := time.Now()
		v.Wire(0).Cut() // keeps the key
		<-time.After(time.Millisecond)
		require.NoError(t, h.Unlock(ctx))
		synctest.Wait()
		stillWaits(t, done)
		apart.Wire(n - 1).Heal()
		o := <-done
		require.NoError(t, o.err)
		require.Less(t, time.Since(start), time.Second)
		v.Wire(0).Heal()
		require.NoError(t, o.hold.Unlock(ctx))
		cancel()
		c.waiting.Wait()
	})
}

// Each release leaves the vote that was not needed.
func TestVotesThatWereNotNeededDoNotCostALaterRelease(t *testing.T) {
	t.Parallel()
	const n, kept = 3, 64
	inBubble(t, n, func(t *testing.T, v *redistest.Virtual) {
		apart := v.Apart()
		h := lockVirtual(t, virtualNodes(t, v, n))
		done := lockSoonVirtual(t.Context(), t, virtualNodes(t, apart, n), name)
		for token := range kept - 1 {
			for i := range n {
				v.Wire(i).Redis().Publish(name+":released", strconv.Itoa(token))
			}
			synctest.Wait()
		}
		stillWaits(t, done)
		apart.Wire(n - 1).Cut()
		start := time.Now()
		require.NoError(t, h.Unlock(t.Context()))
		o := <-done
		require.NoError(t, o.err)
		require.Less(t, time.Since(start), maxSplitPause)
		apart.Wire(n - 1).Heal()
		require.NoError(t, o.hold.Unlock(t.Context()))
	})
}

// Others have taken the lock from each other. They give up, and tell nobody.
func TestAWaiterAsksAgainSoonWhileNobodyHasAQuorum(t *testing.T) {
	t.Parallel()
	const soon = 100 * time.Millisecond
	for _, owners := range [][]string{{"one", "another", ""}, {"one", "one", "another", "another", ""}} {
		inBubble(t, len(owners), func(t *testing.T, v *redistest.Virtual) {
			for i, owner := range owners {
				if owner != "" {
					require.NoError(t, v.Wire(i).Redis().Set(name, owner))
					v.Wire(i).Redis().SetTTL(name, time.Hour)
				}
			}
			done := lockSoonVirtual(t.Context(), t, virtualNodes(t, v, len(owners)), name)
			<-time.After(2 * soon) // it has subscribed, which makes it ask, too
			stillWaits(t, done)
			for i, owner := range owners {
				if owner != "" {
					v.Wire(i).Redis().Del(name)
				}
			}
			freed := time.Now()
			o := <-done
			require.NoError(t, o.err)
			require.LessOrEqual(t, time.Since(freed), soon)
			require.NoError(t, o.hold.Unlock(t.Context()))
		})
	}
}
