package conclavetest_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/conclavetest"
	"github.com/conclave-go/conclave/redlock"
)

// redisWorker is the code under test. It works while it holds the Redlock "job".
type redisWorker struct {
	clients []redis.UniversalClient
	ttl     time.Duration
	working atomic.Bool // what the tests look at
	done    chan error  // what run has returned
}

func (w *redisWorker) run(ctx context.Context) error {
	nodes, err := redlock.NewNodes(w.clients, redlock.WithTTL(w.ttl))
	if err != nil {
		return err
	}
	defer func() { _ = nodes.Close(ctx) }()
	mutex, err := redlock.NewMutex(nodes, "job")
	if err != nil {
		return err
	}
	return mutex.Do(ctx, func(ctx context.Context, _ *redlock.Hold) error {
		w.working.Store(true)
		defer w.working.Store(false)
		<-ctx.Done() // real workers do something meanwhile
		return ctx.Err()
	})
}

// startOnRedis runs a worker until the test ends.
func startOnRedis(t *testing.T, clients []redis.UniversalClient, ttl time.Duration) *redisWorker {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &redisWorker{clients: clients, ttl: ttl, done: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.done <- w.run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return w
}

func TestRedisWorkerStopsBeforeAnotherStarts(t *testing.T) {
	t.Parallel()
	conclavetest.VirtualRedis(t, 3, func(t *testing.T, nodes *conclavetest.Redis) {
		network := nodes.Network(t)
		first := startOnRedis(t, network.Clients(t), 10*time.Second)
		conclavetest.Advance(0) // until it works
		second := startOnRedis(t, nodes.Network(t).Clients(t), 10*time.Second)
		nodes.AwaitWaiters(t, "job", 1)
		require.True(t, first.working.Load())

		network.Cut()
		for range 120 {
			conclavetest.Advance(100 * time.Millisecond)
			require.False(t, first.working.Load() && second.working.Load())
		}
		require.True(t, second.working.Load())
		require.ErrorIs(t, <-first.done, redlock.ErrLost)
	})
}

func TestRedisWorkerGoesOnWhileAMinorityHangs(t *testing.T) {
	t.Parallel()
	conclavetest.VirtualRedis(t, 3, func(t *testing.T, nodes *conclavetest.Redis) {
		worker := startOnRedis(t, nodes.Network(t).Clients(t), 10*time.Second)
		conclavetest.Advance(0)

		nodes.Hang(t, 0)
		conclavetest.Advance(time.Minute)
		require.True(t, worker.working.Load())

		nodes.Hang(t, 1)
		conclavetest.Advance(time.Minute)
		require.False(t, worker.working.Load())
		nodes.Resume(t, 0)
		nodes.Resume(t, 1)
	})
}

// This is where Redlock ends: a majority that has forgotten the lock grants it again.
func TestRestartsWithoutPersistenceBreakRedlock(t *testing.T) {
	t.Parallel()
	conclavetest.VirtualRedis(t, 3, func(t *testing.T, nodes *conclavetest.Redis) {
		first := startOnRedis(t, nodes.Network(t).Clients(t), 10*time.Second)
		conclavetest.Advance(0)

		nodes.Restart(t, 0)
		nodes.Restart(t, 1)
		second := startOnRedis(t, nodes.Network(t).Clients(t), 10*time.Second)
		conclavetest.Advance(0)
		require.True(t, first.working.Load() && second.working.Load())
	})
}

// And here: clocks that jump.
func TestClocksThatJumpBreakRedlock(t *testing.T) {
	t.Parallel()
	conclavetest.VirtualRedis(t, 3, func(t *testing.T, nodes *conclavetest.Redis) {
		first := startOnRedis(t, nodes.Network(t).Clients(t), 10*time.Second)
		conclavetest.Advance(0)
		second := startOnRedis(t, nodes.Network(t).Clients(t), 10*time.Second)
		nodes.AwaitWaiters(t, "job", 1)

		nodes.AdvanceClock(t, 0, 10*time.Second)
		nodes.AdvanceClock(t, 1, 10*time.Second)
		nodes.Wake(t, "job") // rather than at its next poll
		conclavetest.Advance(0)
		require.True(t, first.working.Load() && second.working.Load())
	})
}

// The same in real time, for code that cannot run in a bubble.
func TestRedisWorkerStopsWhenItIsCutOff(t *testing.T) {
	t.Parallel()
	nodes := conclavetest.NewRedis(t, 3)
	network := nodes.Network(t)
	worker := startOnRedis(t, network.Clients(t), 6*time.Second)
	require.Eventually(t, worker.working.Load, guard, time.Millisecond)

	network.Cut()
	require.Eventually(t, func() bool { return !worker.working.Load() }, guard, time.Millisecond)
	network.Heal()
	require.ErrorIs(t, <-worker.done, redlock.ErrLost)
}
