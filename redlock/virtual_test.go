package redlock_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/clock"
	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/redlock"
)

// These tests run in virtual time, in which calls take none: durations are exact.

const (
	ttl     = 9 * time.Second
	timeout = 250 * time.Millisecond
	drift   = 92 * time.Millisecond // 1 % of the TTL and 2 ms
	valid   = ttl - drift
)

// inBubble runs a test on n virtual nodes.
func inBubble(t *testing.T, n int, test func(t *testing.T, v *redistest.Virtual)) {
	t.Helper()
	t.Cleanup(clock.Virtual())
	bubble.Test(t, func(t *testing.T) {
		t.Helper()
		test(t, redistest.NewVirtual(t, n))
	})
}

// virtualNodes returns nodes that are closed at the test's end, with all wires healed.
func virtualNodes(t *testing.T, v *redistest.Virtual, n int, opts ...redlock.Option) *redlock.Nodes {
	t.Helper()
	nodes, err := redlock.NewNodes(v.Clients(t), append(opts, redlock.WithTTL(ttl))...)
	require.NoError(t, err)
	t.Cleanup(func() {
		for i := range n {
			v.Wire(i).Heal()
		}
		require.NoError(t, nodes.Close(context.Background()))
	})
	return nodes
}

func lockVirtual(t *testing.T, nodes *redlock.Nodes, opts ...redlock.MutexOption) *redlock.Hold {
	t.Helper()
	m, err := redlock.NewMutex(nodes, name, opts...)
	require.NoError(t, err)
	h, err := m.Lock(t.Context())
	require.NoError(t, err)
	synctest.Wait() // for the nodes that were not needed
	return h
}

// onVirtualSizes runs a test on one, three and five nodes.
func onVirtualSizes(t *testing.T, test func(t *testing.T, v *redistest.Virtual, n int)) {
	t.Helper()
	for _, n := range sizes() {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			inBubble(t, n, func(t *testing.T, v *redistest.Virtual) { test(t, v, n) })
		})
	}
}

func TestAHoldIsRenewedEveryThirdOfATTLAndNoMoreOften(t *testing.T) {
	t.Parallel()
	const held = 20 * ttl
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		nodes := virtualNodes(t, v, n)
		first := lockVirtual(t, nodes)
		require.NoError(t, first.Extend(t.Context()))
		require.NoError(t, first.Unlock(t.Context()))
		synctest.Wait() // the nodes have all scripts now
		before := 0
		for i := range n {
			before += v.Wire(i).Calls()
		}
		h := lockVirtual(t, nodes)
		for range 60 {
			require.Equal(t, valid, h.Remaining())
			require.Equal(t, time.Now().Add(valid), h.Deadline())
			<-time.After(ttl/3 - 1)
			synctest.Wait()
			require.Equal(t, valid-ttl/3+1, h.Remaining())
			<-time.After(1)
			synctest.Wait()
		}
		calls := 0
		for i := range n {
			calls += v.Wire(i).Calls()
		}
		require.Equal(t, calls-before, n+int(held/ttl)*3*n, "one command per node for Lock, and three in a TTL")
		require.NoError(t, h.Unlock(t.Context()))
	})
}

func TestAHoldThatCannotBeRenewedEndsAtItsDeadlineWhileCallsHang(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		h := lockVirtual(t, virtualNodes(t, v, n))
		for i := range n/2 + 1 {
			v.Wire(i).Cut()
		}
		within, cancel := h.With(t.Context())
		defer cancel()
		<-time.After(valid - 1)
		synctest.Wait()
		require.NoError(t, h.Err())
		require.NoError(t, within.Err())
		<-time.After(1)
		synctest.Wait()
		require.Error(t, h.Context().Err(), "at this instant")
		lost(t, h)
		require.ErrorIs(t, context.Cause(within), redlock.ErrLost)
		require.ErrorIs(t, h.Extend(t.Context()), redlock.ErrLost)
		for i := range n {
			v.Wire(i).Heal()
		}
		<-time.After(ttl)
		lost(t, h) // nothing revives it
		require.ErrorIs(t, h.Unlock(t.Context()), redlock.ErrLost)
		for i := range n {
			require.False(t, v.Wire(i).Redis().Exists(name))
		}
	})
}

func TestAHoldWhoseKeysAreGoneEndsWithItsNextRenewal(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		h := lockVirtual(t, virtualNodes(t, v, n))
		for i := range n/2 + 1 {
			v.Wire(i).Redis().Del(name)
		}
		<-time.After(ttl/3 - 1)
		synctest.Wait()
		require.NoError(t, h.Err(), "nobody has asked")
		<-time.After(1)
		synctest.Wait()
		require.Error(t, h.Context().Err(), "at this instant")
		lost(t, h)
		for i := range n {
			require.False(t, v.Wire(i).Redis().Exists(name), "the rest is removed, and nothing put back")
		}
	})
}

func TestAKeyThatAMinorityLostIsPutBackByTheNextRenewal(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, 5} {
		inBubble(t, n, func(t *testing.T, v *redistest.Virtual) {
			h := lockVirtual(t, virtualNodes(t, v, n))
			for i := range n / 2 {
				v.Wire(i).Redis().Del(name)
			}
			<-time.After(ttl / 3)
			synctest.Wait()
			for i := range n {
				require.Equal(t, ttl, v.Wire(i).Redis().TTL(name))
			}
			require.NoError(t, h.Unlock(t.Context()))
		})
	}
}

func TestNothingIsPutBackWithoutAQuorum(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, 5} {
		inBubble(t, n, func(t *testing.T, v *redistest.Virtual) {
			h := lockVirtual(t, virtualNodes(t, v, n))
			v.Wire(0).Redis().Del(name)
			for i := range n / 2 {
				v.Wire(n - 1 - i).Redis().SetError("LOADING") // an answer at once
			}
			_, ok := errors.AsType[*redlock.QuorumError](h.Extend(t.Context()))
			require.True(t, ok)
			synctest.Wait()
			require.False(t, v.Wire(0).Redis().Exists(name))
			require.NoError(t, h.Err())
		})
	}
}

func TestAHoldSurvivesAnOutageThatEndsBeforeItsDeadline(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		h := lockVirtual(t, virtualNodes(t, v, n))
		for i := range n {
			v.Wire(i).Cut()
		}
		<-time.After(valid - ttl/10)
		for i := range n {
			v.Wire(i).Heal()
		}
		<-time.After(ttl / 10)
		synctest.Wait()
		require.NoError(t, h.Err())
		<-time.After(3 * ttl)
		require.NoError(t, h.Unlock(t.Context()))
	})
}

// The answer and the deadline come at one instant, and the answer is seen first.
func TestAnAnswerAtTheDeadlineRevivesNothing(t *testing.T) {
	t.Parallel()
	for range 50 {
		inBubble(t, 1, func(t *testing.T, v *redistest.Virtual) {
			h := lockVirtual(t, virtualNodes(t, v, 1), redlock.WithoutRenewal())
			redlock.StopTimer(h)
			heal := time.AfterFunc(valid, v.Wire(0).Heal)
			defer heal.Stop()
			<-time.After(valid - timeout/2)
			v.Wire(0).Cut()
			require.ErrorIs(t, h.Extend(t.Context()), redlock.ErrLost)
			lost(t, h)
		})
	}
}

// Nobody else can have had a quorum, and somebody can have one now.
func TestUnlockSucceedsWhereAQuorumHasNoKeyLeft(t *testing.T) {
	t.Parallel()
	inBubble(t, 5, func(t *testing.T, v *redistest.Virtual) {
		h := lockVirtual(t, virtualNodes(t, v, 5))
		for i := range 2 {
			v.Wire(i).Redis().Del(name)
			v.Wire(3 + i).Cut()
		}
		require.NoError(t, h.Unlock(t.Context()))
	})
}

func TestNothingRenewsAHoldWithoutRenewal(t *testing.T) {
	t.Parallel()
	inBubble(t, 3, func(t *testing.T, v *redistest.Virtual) {
		h := lockVirtual(t, virtualNodes(t, v, 3), redlock.WithoutRenewal())
		<-time.After(valid - 1)
		require.NoError(t, h.Extend(t.Context()))
		require.Equal(t, valid, h.Remaining())
		<-time.After(valid - 1)
		synctest.Wait()
		require.NoError(t, h.Err())
		<-time.After(1)
		synctest.Wait()
		lost(t, h)
	})
}

func TestAHungMajorityCostsTheNodeTimeoutAndNoMore(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		nodes := virtualNodes(t, v, n)
		h := lockVirtual(t, nodes)
		other, err := redlock.NewMutex(nodes, "other")
		require.NoError(t, err)
		for i := range n/2 + 1 {
			v.Wire(i).Cut()
		}
		took := func(fn func()) time.Duration {
			start := time.Now()
			fn()
			return time.Since(start)
		}
		require.Equal(t, timeout, took(func() {
			_, err := other.TryLock(t.Context())
			quorum, ok := errors.AsType[*redlock.QuorumError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, "acquire", quorum.Op)
			require.Len(t, quorum.Nodes, n)
			require.NotErrorIs(t, err, redlock.ErrLocked)
		}))
		require.LessOrEqual(t, took(func() {
			_, ok := errors.AsType[*redlock.QuorumError](h.Extend(t.Context()))
			require.True(t, ok)
		}), timeout)
		require.NoError(t, h.Err(), "it still has its time")
		require.LessOrEqual(t, took(func() {
			_, ok := errors.AsType[*redlock.QuorumError](h.Unlock(t.Context()))
			require.True(t, ok)
		}), timeout)
	})
}

func TestAHungMinorityCostsNothing(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, 5} {
		inBubble(t, n, func(t *testing.T, v *redistest.Virtual) {
			nodes := virtualNodes(t, v, n)
			for i := range n / 2 {
				v.Wire(i).Cut()
			}
			start := time.Now()
			h := lockVirtual(t, nodes)
			require.NoError(t, h.Extend(t.Context()))
			require.NoError(t, h.Unlock(t.Context()))
			require.Equal(t, start, time.Now())
		})
	}
}

func TestANodeThatHangsIsAskedOnceInANodeTimeout(t *testing.T) {
	t.Parallel()
	inBubble(t, 3, func(t *testing.T, v *redistest.Virtual) {
		nodes := virtualNodes(t, v, 3)
		require.NoError(t, lockVirtual(t, nodes).Unlock(t.Context()))
		synctest.Wait()
		v.Wire(0).Cut()
		m, err := redlock.NewMutex(nodes, name)
		require.NoError(t, err)
		before, answered := v.Wire(0).Calls(), v.Wire(1).Calls()
		const most = 40
		for start := time.Now(); time.Since(start) < most*timeout; <-time.After(100 * time.Millisecond) {
			h, err := m.Lock(t.Context())
			require.NoError(t, err)
			require.NoError(t, h.Unlock(t.Context()))
		}
		const onset = 8 // before anybody can know that it hangs
		require.LessOrEqual(t, v.Wire(0).Calls()-before, most+onset)
		require.GreaterOrEqual(t, v.Wire(1).Calls()-answered, 4*most, "the others are asked each time")
	})
}

func TestTheContextEndsEveryCallAtOnceWhileNodesHang(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		nodes := virtualNodes(t, v, n)
		h := lockVirtual(t, nodes)
		other, err := redlock.NewMutex(nodes, "other")
		require.NoError(t, err)
		for i := range n {
			v.Wire(i).Cut()
		}
		const after = 10 * time.Millisecond
		for what, call := range map[string]func(context.Context) error{
			"Lock":    func(ctx context.Context) error { _, err := other.Lock(ctx); return err },
			"TryLock": func(ctx context.Context) error { _, err := other.TryLock(ctx); return err },
			"Extend":  h.Extend,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			start := time.Now()
			err := call(ctx)
			require.LessOrEqual(t, time.Since(start), after, what)
			if _, quorum := errors.AsType[*redlock.QuorumError](err); !quorum { // a node known to hang is not asked
				require.ErrorIs(t, err, context.DeadlineExceeded, what)
			}
			cancel()
		}
		ctx, cancel := context.WithTimeout(t.Context(), after)
		defer cancel()
		start := time.Now()
		require.Error(t, h.Unlock(ctx))
		require.LessOrEqual(t, time.Since(start), after)
		require.ErrorIs(t, h.Err(), redlock.ErrReleased)
	})
}

func TestLockWaitsOutAnOutageAndKeepsItsLastError(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		nodes := virtualNodes(t, v, n)
		m, err := redlock.NewMutex(nodes, name)
		require.NoError(t, err)
		for i := range n {
			v.Wire(i).Cut()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		_, err = m.Lock(ctx)
		require.Equal(t, time.Minute, time.Since(start))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, ok := errors.AsType[*redlock.QuorumError](err)
		require.True(t, ok, "%v", err)
		calls := v.Wire(0).Calls()
		require.LessOrEqual(t, calls, 4*60, "no busy loop")

		time.AfterFunc(time.Minute, func() {
			for i := range n {
				v.Wire(i).Heal()
			}
		})
		start = time.Now()
		h, err := m.Lock(t.Context())
		require.NoError(t, err)
		require.Less(t, time.Since(start), time.Minute+3*time.Second)
		require.NoError(t, h.Unlock(t.Context()))
	})
}

// A holder that has crashed leaves its keys to expire. A waiter asks when that must have
// happened, and about once a second before.
func TestAWaiterIsGrantedSoonAfterTheKeysExpireAndAsksSeldom(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		for i := range n {
			require.NoError(t, v.Wire(i).Redis().Set(name, "crashed"))
			v.Wire(i).Redis().SetTTL(name, ttl)
		}
		start := time.Now()
		h := lockVirtual(t, virtualNodes(t, v, n))
		took := time.Since(start)
		require.GreaterOrEqual(t, took, ttl)
		require.Less(t, took, ttl+130*time.Millisecond)
		for i := range n {
			require.LessOrEqual(t, v.Wire(i).Calls(), 20, "12 at most in the nine seconds, and what comes before")
		}
		require.NoError(t, h.Unlock(t.Context()))
	})
}

func TestAWaiterAsksAboutOnceASecondWhileTheLockIsRenewed(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		h := lockVirtual(t, virtualNodes(t, v, n))
		waiter := virtualNodes(t, v, n)
		m, err := redlock.NewMutex(waiter, name)
		require.NoError(t, err)
		before := v.Wire(0).Calls()
		waits := suite.Long(3*time.Minute, 10*time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), waits)
		defer cancel()
		_, err = m.Lock(ctx)
		require.ErrorIs(t, err, redlock.ErrLocked)
		seconds := int(waits.Seconds())
		renewals := int(waits / (ttl / 3))
		calls := v.Wire(0).Calls() - before - renewals
		require.Greater(t, calls, seconds*3/4)
		require.Less(t, calls, seconds*4/3+5)
		require.NoError(t, h.Err())
		require.NoError(t, h.Unlock(t.Context()))
	})
}

// A release is told to waiters: none of them has to ask.
func TestAReleaseReachesAWaiterInNoTime(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		h := lockVirtual(t, virtualNodes(t, v, n))
		m, err := redlock.NewMutex(virtualNodes(t, v, n), name)
		require.NoError(t, err)
		var unlocked time.Time
		time.AfterFunc(3*time.Second+300*time.Millisecond, func() {
			unlocked = time.Now()
			if err := h.Unlock(context.Background()); err != nil {
				t.Error(err)
			}
		})
		second, err := m.Lock(t.Context())
		require.NoError(t, err)
		require.Less(t, time.Since(unlocked), maxSplitPause)
		require.NoError(t, second.Unlock(t.Context()))
	})
}

// A node without its keys would make a quorum with one that never had them.
func TestANodeThatRestartedDoesNotVoteBeforeItsMinimumUptime(t *testing.T) {
	t.Parallel()
	inBubble(t, 3, func(t *testing.T, v *redistest.Virtual) {
		const secondsLate = 2 * time.Second // whole seconds, of which one may be missing
		v.Wire(2).Cut()
		<-time.After(ttl + secondsLate)
		h := lockVirtual(t, virtualNodes(t, v, 3))
		v.Wire(2).Heal()
		synctest.Wait()
		v.Wire(2).Redis().Del(name) // the request came late
		v.Wire(1).Restart()
		careful, err := redlock.NewMutex(virtualNodes(t, v, 3, redlock.WithMinUptime(ttl)), name)
		require.NoError(t, err)
		<-time.After(ttl/3 - 1) // the holder has not yet put it back
		_, err = careful.TryLock(t.Context())
		require.Error(t, err)
		synctest.Wait()
		require.False(t, v.Wire(1).Redis().Exists(name))

		// What the option is for, shown by the lack of it.
		careless, err := redlock.NewMutex(virtualNodes(t, v, 3), name)
		require.NoError(t, err)
		second, err := careless.TryLock(t.Context())
		require.NoError(t, err)
		require.NoError(t, h.Err(), "two hold the lock")
		require.NoError(t, second.Unlock(t.Context()))
	})
}

func TestANodeVotesOnceItIsOldEnoughForCertain(t *testing.T) {
	t.Parallel()
	inBubble(t, 1, func(t *testing.T, v *redistest.Virtual) {
		m, err := redlock.NewMutex(virtualNodes(t, v, 1, redlock.WithMinUptime(ttl)), name)
		require.NoError(t, err)
		<-time.After(ttl + time.Second - 1)
		_, err = m.TryLock(t.Context())
		_, young := errors.AsType[*redlock.UptimeError](err)
		require.True(t, young, "%v", err)
		<-time.After(1)
		h, err := m.TryLock(t.Context())
		require.NoError(t, err)
		require.NoError(t, h.Unlock(t.Context()))
	})
}

// maxSplitPause is for a waiter that comes before all nodes have released.
const maxSplitPause = 10 * time.Millisecond
