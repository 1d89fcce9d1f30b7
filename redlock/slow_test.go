package redlock_test

import (
	"context"
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

// slowTTL has the node timeout of 250 ms.
const slowTTL = redlock.DefaultTTL

// slowly lets every round trip to all nodes take so long.
func slowly(v *redistest.Virtual, n int, roundTrip time.Duration) {
	for i := range n {
		v.Wire(i).Delay(roundTrip / 2)
	}
}

// A node that is slower than the node timeout is not out.
func TestAHoldLastsWhileItsRenewalsCanBeConfirmed(t *testing.T) {
	t.Parallel()
	held := suite.Long(40*time.Second, 2*time.Minute) // four TTLs
	for _, heeded := range []bool{false, true} {
		for trip := time.Duration(0); trip <= 3*time.Second; trip += 500 * time.Millisecond {
			t.Run(trip.String(), func(t *testing.T) {
				t.Parallel()
				onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
					nodes := slowNodes(t, v, n, heeded)
					h := lockVirtual(t, nodes)
					slowly(v, n, trip)
					before := v.Wire(0).Calls()
					<-time.After(held)
					require.NoError(t, h.Err())
					require.LessOrEqual(t, v.Wire(0).Calls()-before, 3*int(held.Seconds()))
					slowly(v, n, 0)
					require.NoError(t, h.Unlock(t.Context()))
				})
			})
		}
	}
}

// slowNodes are nodes whose clients heed contexts or do not.
func slowNodes(t *testing.T, v *redistest.Virtual, n int, heeded bool, edit ...func(*redis.Options)) *redlock.Nodes {
	t.Helper()
	var clients []redis.UniversalClient
	for i, opts := range v.Options() {
		opts.ContextTimeoutEnabled = heeded
		for _, edit := range edit {
			edit(opts)
		}
		client := redis.NewClient(opts)
		client.AddHook(v.Wire(i).Counter())
		t.Cleanup(func() { _ = client.Close() })
		clients = append(clients, client)
	}
	nodes, err := redlock.NewNodes(clients, redlock.WithTTL(slowTTL))
	require.NoError(t, err)
	t.Cleanup(func() {
		slowly(v, n, 0)
		require.NoError(t, nodes.Close(context.Background()))
	})
	return nodes
}

func TestLockSucceedsAtNodesThatAreSlowerThanTheNodeTimeout(t *testing.T) {
	t.Parallel()
	for _, heeded := range []bool{false, true} {
		for _, trip := range []time.Duration{300 * time.Millisecond, 900 * time.Millisecond, 1200 * time.Millisecond, 2 * time.Second, 3 * time.Second} {
			t.Run(trip.String(), func(t *testing.T) {
				t.Parallel()
				onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
					slowly(v, n, trip)
					nodes := slowNodes(t, v, n, heeded)
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					m, err := redlock.NewMutex(nodes, name)
					require.NoError(t, err)
					h, err := m.Lock(ctx)
					require.NoError(t, err)
					<-time.After(time.Minute)
					require.NoError(t, h.Err())
					slowly(v, n, 0)
					<-time.After(10 * time.Second)
					require.NoError(t, h.Unlock(t.Context()))
				})
			})
		}
	}
}

// Each connection that has died without a word takes up a renewal for the ReadTimeout, of
// which the documentation says what is right then.
func TestAHoldOutlivesTheConnectionsThatThereWere(t *testing.T) {
	t.Parallel()
	const conns, brief = 4, 6 * time.Second
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		nodes := slowNodes(t, v, n, true, func(o *redis.Options) { o.ReadTimeout = brief / 3 })
		slowly(v, n, 10*time.Millisecond)
		tryAll(t, nodes, conns)
		slowly(v, n, 0)
		h := lockVirtual(t, nodes, redlock.WithTTL(brief))
		for i := range n {
			v.Wire(i).Strand()
		}
		<-time.After(time.Minute)
		require.NoError(t, h.Err())
		require.NoError(t, h.Unlock(t.Context()))
	})
}

// dawdling lets calls wait until their contexts end, and tells how long that took.
type dawdling struct {
	answered

	calls *atomic.Int64 // so many of the next ones
	ended chan time.Duration
}

func (d dawdling) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if d.calls.Add(-1) < 0 {
			return next(ctx, cmd)
		}
		start := time.Now()
		select {
		case <-ctx.Done():
		case <-time.After(time.Minute): // only a failure takes that long
		}
		d.ended <- time.Since(start)
		return context.Canceled
	}
}

// Whoever waits in a client, for a connection or in a hook, does so for no longer than the
// answer is worth something.
func TestTheContextOfACallEndsWhenItsAnswerIsWorthNothing(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		d := dawdling{calls: new(atomic.Int64), ended: make(chan time.Duration, n)}
		clients := v.Clients(t)
		for _, c := range clients {
			c.AddHook(d)
		}
		nodes, err := redlock.NewNodes(clients, redlock.WithTTL(ttl))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, nodes.Close(context.Background())) })
		h := lockVirtual(t, nodes, redlock.WithoutRenewal())
		require.NoError(t, h.Extend(t.Context()))
		synctest.Wait()
		m, err := redlock.NewMutex(nodes, "other")
		require.NoError(t, err)
		d.calls.Store(int64(n))
		_, err = m.TryLock(t.Context())
		require.Error(t, err)
		for range n {
			require.Equal(t, timeout, <-d.ended)
		}
		<-time.After(time.Second) // what may be left is removed
		d.calls.Store(int64(n))
		require.Error(t, h.Extend(t.Context()))
		for range n {
			require.Equal(t, valid, <-d.ended, "it could count until then")
		}
	})
}
