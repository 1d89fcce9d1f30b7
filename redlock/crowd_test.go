package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/redlock"
)

// crowd are calls of Lock for a lock that is held, with other holds of the same process.
type crowd struct {
	nodes   *redlock.Nodes
	held    []*redlock.Hold // what everybody waits for
	others  []*redlock.Hold
	waiting sync.WaitGroup
	granted atomic.Int64
}

// gather lets waiters wait for each of the names, and takes other locks.
func gather(ctx context.Context, t *testing.T, holder, nodes *redlock.Nodes, names, waiters, others int) *crowd {
	t.Helper()
	c := &crowd{nodes: nodes}
	take := func(n *redlock.Nodes, name string) *redlock.Hold {
		m, err := redlock.NewMutex(n, name)
		require.NoError(t, err)
		h, err := m.Lock(t.Context())
		require.NoError(t, err)
		return h
	}
	for i := range others {
		c.others = append(c.others, take(nodes, fmt.Sprintf("other-%d", i)))
	}
	for i := range names {
		c.held = append(c.held, take(holder, fmt.Sprintf("%s-%d", name, i)))
		m, err := redlock.NewMutex(nodes, fmt.Sprintf("%s-%d", name, i))
		require.NoError(t, err)
		for range waiters / names {
			c.waiting.Go(func() {
				if m.Do(ctx, func(context.Context, *redlock.Hold) error { <-time.After(10 * time.Millisecond); return nil }) == nil {
					c.granted.Add(1)
				}
			})
		}
	}
	synctest.Wait()
	return c
}

// Only one waiter of a lock asks, whatever happens to the subscriptions, and renewals come
// through.
func TestACrowdOfWaitersCostsANodeNextToNothing(t *testing.T) {
	t.Parallel()
	const n, others, perSecond = 3, 21, 5
	lasts := suite.Long(time.Minute, 2*time.Minute)
	waiters := suite.Long(400, 2000)
	for _, tc := range []struct{ names, resets int }{{1, 0}, {1, 12}, {40, 0}} {
		t.Run(fmt.Sprintf("%d names, %d resets", tc.names, tc.resets), func(t *testing.T) {
			t.Parallel()
			inBubble(t, n, func(t *testing.T, v *redistest.Virtual) {
				apart := v.Apart()
				nodes := virtualNodes(t, apart, n)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				c := gather(ctx, t, virtualNodes(t, v, n, redlock.WithTTL(10*ttl)), nodes, tc.names, waiters, others)
				before := apart.Wire(0).Calls()
				for range tc.resets {
					<-time.After(lasts / time.Duration(tc.resets))
					apart.Wire(0).Reset() // subscriptions break
					apart.Wire(n - 1).Reset()
				}
				if tc.resets == 0 {
					<-time.After(lasts)
				}
				synctest.Wait()
				renewals := others * int(lasts/(ttl/3))
				once := 2*tc.names + 5*tc.resets // what comes however short the time is
				require.LessOrEqual(t, apart.Wire(0).Calls()-before-renewals, perSecond*int(lasts.Seconds())+once)
				for _, h := range c.others {
					require.NoError(t, h.Err())
				}
				require.Zero(t, c.granted.Load())
				for _, h := range c.held {
					require.NoError(t, h.Unlock(t.Context()))
				}
				for c.granted.Load() < 100 { // one after the other
					<-time.After(time.Millisecond)
				}
				cancel()
				c.waiting.Wait()
			})
		})
	}
}

// The next waiter of a process does not ask before its predecessor has released.
func TestAHandoverWithinAProcessCostsTwoScripts(t *testing.T) {
	t.Parallel()
	const waiters = 100
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		apart := v.Apart()
		nodes := virtualNodes(t, apart, n)
		c := gather(t.Context(), t, virtualNodes(t, v, n), nodes, 1, waiters, 0)
		before := apart.Wire(0).Calls()
		require.NoError(t, c.held[0].Unlock(t.Context()))
		c.waiting.Wait()
		const split = waiters / 5 // some ask between the releases of two nodes
		require.LessOrEqual(t, apart.Wire(0).Calls()-before, 2*waiters+split)
	})
}

// Callers that give up, one after the other, do not let the next ask each time.
func TestWaitersThatGiveUpCostNothing(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		h := lockVirtual(t, virtualNodes(t, v, n))
		apart := v.Apart()
		m, err := redlock.NewMutex(virtualNodes(t, apart, n), name)
		require.NoError(t, err)
		var all sync.WaitGroup
		for i := range 1000 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Duration(i)*10*time.Millisecond)
				defer cancel()
				_, err := m.Lock(ctx)
				if _, locked := errors.AsType[*redlock.LockedError](err); !locked {
					t.Error(err)
				}
			})
		}
		all.Wait()
		require.LessOrEqual(t, apart.Wire(0).Calls(), 20*4/3+5, "about once a second, as one would")
		require.NoError(t, h.Unlock(t.Context()))
	})
}

// pooled are nodes whose clients have so many connections.
func pooled(t *testing.T, v *redistest.Virtual, n, conns int, opts ...redlock.Option) *redlock.Nodes {
	t.Helper()
	var clients []redis.UniversalClient
	for _, o := range v.Options() {
		o.PoolSize = conns
		client := redis.NewClient(o)
		t.Cleanup(func() { _ = client.Close() })
		clients = append(clients, client)
	}
	nodes, err := redlock.NewNodes(clients, opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		slowly(v, n, 0)
		require.NoError(t, nodes.Close(context.Background()))
	})
	return nodes
}

// tryAll takes and releases locks at the same time, as often as that.
func tryAll(t *testing.T, nodes *redlock.Nodes, locks int) {
	t.Helper()
	var all sync.WaitGroup
	for i := range locks {
		m, err := redlock.NewMutex(nodes, fmt.Sprintf("crowd-%d", i))
		require.NoError(t, err)
		all.Go(func() {
			h, err := m.TryLock(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if err := h.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// A crowd of acquisitions waits before it has begun: neither does it lack the time then, nor
// do renewals wait for connections.
func TestACrowdOfAcquisitionsDelaysNoRenewal(t *testing.T) {
	t.Parallel()
	const conns, crowd, holds = 20, 200, 5
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		var failed atomic.Int64
		nodes := pooled(t, v, n, conns, redlock.WithTTL(ttl), redlock.WithObserver(redlock.Observer{
			Extended: func(e redlock.Event) {
				if e.Err != nil {
					failed.Add(1)
				}
			},
		}))
		var held []*redlock.Hold
		for i := range holds {
			m, err := redlock.NewMutex(nodes, fmt.Sprintf("held-%d", i))
			require.NoError(t, err)
			h, err := m.Lock(t.Context())
			require.NoError(t, err)
			held = append(held, h)
		}
		slowly(v, n, 100*time.Millisecond)
		tryAll(t, nodes, crowd) // as many take three seconds
		for _, h := range held {
			require.NoError(t, h.Err())
			require.NoError(t, h.Unlock(t.Context()))
		}
		require.Zero(t, failed.Load())
	})
}

// What it takes to connect does not count against the node timeout.
func TestAHundredAcquisitionsSucceedOnColdPools(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		nodes := pooled(t, v, n, 20)
		slowly(v, n, 100*time.Millisecond) // a handshake and a script are twice as long as the node timeout
		tryAll(t, nodes, 100)
	})
}

// A waiter that is told nothing asks once its predecessor's keys must have expired, however
// many locks of the process are waited for.
func TestAReleaseThatIsNotToldCostsTheNextWaiterATTL(t *testing.T) {
	t.Parallel()
	const n, names = 3, 80 // each of which asks once in 20 s
	inBubble(t, n, func(t *testing.T, v *redistest.Virtual) {
		holder, nodes := virtualNodes(t, v, n), virtualNodes(t, v.Apart(), n)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c := gather(ctx, t, holder, nodes, names, names, 0)
		unlocked := c.held[0]
		first := lockSoonVirtual(ctx, t, nodes, unlocked.Name())
		second := lockSoonVirtual(ctx, t, nodes, unlocked.Name())
		require.NoError(t, unlocked.Unlock(ctx))
		o := <-first
		require.NoError(t, o.err)
		for i := range n {
			v.Wire(i).Redis().Del(unlocked.Name())
		}
		start := time.Now()
		o = <-second
		require.NoError(t, o.err)
		require.LessOrEqual(t, time.Since(start), ttl+time.Second)
		cancel()
		c.waiting.Wait()
	})
}
