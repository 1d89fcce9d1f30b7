package conclavetest_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/conclavetest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// These tests are examples of how code that uses Conclave is tested. What the package
// comment shows is taken from here, and a test compares the two.

// worker is the code under test. It works while it holds the lock "job".
type worker struct {
	client  *clientv3.Client
	ttl     time.Duration
	working atomic.Bool // what the tests look at
	done    chan error  // what run has returned
}

func (w *worker) run(ctx context.Context) error {
	session, err := lease.NewSession(ctx, w.client, lease.WithTTL(w.ttl))
	if err != nil {
		return err
	}
	defer func() { _ = session.Close(ctx) }()
	mutex, err := lock.NewMutex(session, "job")
	if err != nil {
		return err
	}
	return mutex.Do(ctx, func(ctx context.Context, _ *lock.Hold) error {
		w.working.Store(true)
		defer w.working.Store(false)
		<-ctx.Done() // real workers do something meanwhile
		return ctx.Err()
	})
}

// start runs a worker until the test ends.
func start(t *testing.T, client *clientv3.Client, ttl time.Duration) *worker {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &worker{client: client, ttl: ttl, done: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.done <- w.run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return w
}

func TestWorkerStopsWhenItLosesTheLock(t *testing.T) {
	t.Parallel()
	cluster := conclavetest.NewCluster(t)
	worker := start(t, cluster.Client(t), 6*time.Second)
	holder := cluster.AwaitHolder(t, "job")

	cluster.ExpireLease(t, holder.Key)
	require.ErrorIs(t, <-worker.done, lock.ErrLost)
}

func TestWorkerStopsBeforeAnotherStarts(t *testing.T) {
	t.Parallel()
	conclavetest.VirtualCluster(t, func(t *testing.T, cluster *conclavetest.Cluster) {
		network := cluster.Network(t)
		first := start(t, network.Client(t), 10*time.Second)
		cluster.AwaitHolder(t, "job")
		second := start(t, cluster.Client(t), 10*time.Second)
		cluster.AwaitWaiters(t, "job", 1)

		network.Cut()
		for range 110 {
			conclavetest.Advance(100 * time.Millisecond)
			require.False(t, first.working.Load() && second.working.Load())
		}
		require.True(t, second.working.Load())
	})
}

// A short partition costs nothing: the lease is renewed once it is over.
func TestWorkerSurvivesAShortPartition(t *testing.T) {
	t.Parallel()
	conclavetest.VirtualCluster(t, func(t *testing.T, cluster *conclavetest.Cluster) {
		network := cluster.Network(t)
		worker := start(t, network.Client(t), 10*time.Second)
		cluster.AwaitHolder(t, "job")

		network.Cut()
		conclavetest.Advance(6 * time.Second)
		network.Heal()
		conclavetest.Advance(time.Hour)
		require.True(t, worker.working.Load())
	})
}

// Whoever has the session can have it expired without waiting for a renewal, whatever
// its TTL.
func TestHoldEndsWithItsSession(t *testing.T) {
	t.Parallel()
	cluster := conclavetest.NewCluster(t)
	session, err := lease.NewSession(t.Context(), cluster.Client(t))
	require.NoError(t, err)
	defer func() { _ = session.Close(t.Context()) }()
	mutex, err := lock.NewMutex(session, "job")
	require.NoError(t, err)
	hold, err := mutex.Lock(t.Context())
	require.NoError(t, err)

	cluster.ExpireSession(t, session)
	require.ErrorIs(t, hold.Err(), lock.ErrLost)
}

func TestWorkerStopsWhenAnOperatorDeletesItsKey(t *testing.T) {
	t.Parallel()
	cluster := conclavetest.NewCluster(t)
	worker := start(t, cluster.Client(t), 6*time.Second)
	holder := cluster.AwaitHolder(t, "job")

	cluster.DeleteKey(t, holder.Key)
	require.ErrorIs(t, <-worker.done, lock.ErrLost)
}

// The worker's request to queue takes effect, and the worker does not know: it must not
// wait for itself.
func TestWorkerFindsItsPlaceAfterALostReply(t *testing.T) {
	t.Parallel()
	cluster := conclavetest.NewCluster(t)
	network := cluster.Network(t)
	dropped := network.DropReply(t, "Txn")
	worker := start(t, network.Client(t), 6*time.Second)

	<-dropped
	cluster.AwaitHolder(t, "job")
	require.Eventually(t, worker.working.Load, guard, time.Millisecond)
}

// The watch that should tell the second worker says nothing; a look tells it, a third of
// a TTL later at most.
func TestWorkerIsGrantedAlthoughItsWatchIsStalled(t *testing.T) {
	t.Parallel()
	conclavetest.VirtualCluster(t, func(t *testing.T, cluster *conclavetest.Cluster) {
		start(t, cluster.Client(t), 10*time.Second)
		holder := cluster.AwaitHolder(t, "job")
		network := cluster.Network(t)
		second := start(t, network.Client(t), 9*time.Second)
		cluster.AwaitWaiters(t, "job", 1)
		conclavetest.Advance(0) // until it watches

		network.StallWatches()
		cluster.DeleteKey(t, holder.Key)
		conclavetest.Advance(3 * time.Second)
		require.True(t, second.working.Load())
	})
}

// What happens to members is invisible: the lock is the same afterwards.
func TestWorkerKeepsTheLockWhileMembersComeAndGo(t *testing.T) {
	t.Parallel()
	cluster := conclavetest.NewCluster(t, conclavetest.WithMembers(3))
	worker := start(t, cluster.Client(t), 30*time.Second)
	before := cluster.AwaitHolder(t, "job")

	cluster.MoveLeader(t)
	leader := cluster.Leader(t)
	cluster.Kill(t, leader)
	cluster.Leader(t)
	cluster.Restart(t, leader)
	cluster.Compact(t)

	require.Equal(t, before.Token, cluster.AwaitHolder(t, "job").Token)
	require.Eventually(t, worker.working.Load, guard, time.Millisecond)
}

// Code that makes its own clients takes their configuration. Connections that break are
// invisible, too.
func TestWorkerWithItsOwnClientReconnects(t *testing.T) {
	t.Parallel()
	cluster := conclavetest.NewCluster(t)
	network := cluster.Network(t)
	config := network.Config()
	config.DialKeepAliveTime = 30 * time.Second // whatever your code sets
	client, err := clientv3.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	worker := start(t, client, 6*time.Second)
	before := cluster.AwaitHolder(t, "job")

	network.Reset()
	second := start(t, cluster.Client(t), 6*time.Second)
	cluster.AwaitWaiters(t, "job", 1)
	require.Equal(t, before.Token, cluster.AwaitHolder(t, "job").Token)
	require.False(t, worker.working.Load() && second.working.Load())
}

// A member that a client cannot reach is no reason to stop, as long as it reaches others.
func TestWorkerGoesOnWithTheMembersItReaches(t *testing.T) {
	t.Parallel()
	cluster := conclavetest.NewCluster(t, conclavetest.WithMembers(3))
	network := cluster.Network(t)
	network.CutMember(t, 0)
	start(t, network.Client(t), 30*time.Second)
	cluster.AwaitHolder(t, "job")
}

// Jobs that wait are served in the order in which they came.
func TestJobsAreServedInTheirOrder(t *testing.T) {
	t.Parallel()
	cluster := conclavetest.NewCluster(t)
	start(t, cluster.Client(t), 30*time.Second)
	holder := cluster.AwaitHolder(t, "job")
	var workers []*worker
	for i := range 3 {
		workers = append(workers, start(t, cluster.Client(t), 30*time.Second))
		cluster.AwaitWaiters(t, "job", i+1) // before the next one comes
	}

	cluster.DeleteKey(t, holder.Key)
	require.Eventually(t, workers[0].working.Load, guard, time.Millisecond)
	require.False(t, workers[1].working.Load())
	require.False(t, workers[2].working.Load())
}
