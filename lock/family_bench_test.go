package lock_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// sessionOf returns a session, on a client of its own if none is given.
func sessionOf(tb testing.TB, c *etcdtest.Cluster, client *clientv3.Client) *lease.Session {
	tb.Helper()
	if client == nil {
		client = c.Client(tb)
	}
	s, err := lease.NewSession(tb.Context(), client, lease.WithTTL(crowdTTL))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close(context.Background())) })
	return s
}

// lockerOf makes a locker of a method.
func lockerOf(take func(context.Context) (*lock.Hold, error)) locker {
	return func(ctx context.Context) (func(context.Context) error, error) {
		h, err := take(ctx)
		if err != nil {
			return nil, err
		}
		return h.Unlock, nil
	}
}

func semaphoreLocker(tb testing.TB, c *etcdtest.Cluster, permits int) locker {
	tb.Helper()
	m, err := lock.NewSemaphore(sessionOf(tb, c, nil), "semaphore", permits)
	require.NoError(tb, err)
	return lockerOf(func(ctx context.Context) (*lock.Hold, error) { return m.Acquire(ctx, 1) })
}

// cycle takes and releases once.
func cycle(b *testing.B, take locker) func() {
	b.Helper()
	return func() {
		unlock, err := take(b.Context())
		require.NoError(b, err)
		require.NoError(b, unlock(b.Context()))
	}
}

// grantsIn lets all lockers take and release as fast as they can, and returns for how
// long, and how often they were granted.
func grantsIn(b *testing.B, lockers []locker, length time.Duration) (time.Duration, int64) {
	b.Helper()
	ctx, end := context.WithTimeout(b.Context(), length)
	defer end()
	var grants atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for _, take := range lockers {
		wg.Go(func() {
			for ctx.Err() == nil {
				unlock, err := take(ctx)
				if err != nil {
					return // the window is over
				}
				grants.Add(1)
				require.NoError(b, unlock(b.Context()))
			}
		})
	}
	wg.Wait()
	return time.Since(start), grants.Load()
}

// BenchmarkSemaphoreAdmission compares the time for each admission to a semaphore of
// ten for which a hundred wait with the hand-over of a mutex for which a hundred wait,
// and a write: an admitted waiter puts a mark.
func BenchmarkSemaphoreAdmission(b *testing.B) {
	const permits, waiters = 10, 100
	c := etcdtest.New(b, etcdtest.WithControl())
	var ours, mutexes []locker
	for range permits + waiters {
		ours = append(ours, semaphoreLocker(b, c, permits))
	}
	for range 1 + waiters {
		mutexes = append(mutexes, conclaveLocker(b, c))
	}
	raw := c.Client(b)
	grantsIn(b, ours, time.Second/2) // warm up
	grantsIn(b, mutexes, time.Second/2)
	var took, tookMutex, write time.Duration
	var n, nMutex, writes int64
	for b.Loop() {
		d, k := grantsIn(b, ours, time.Second)
		took, n = took+d, n+k
		d, k = grantsIn(b, mutexes, time.Second)
		tookMutex, nMutex = tookMutex+d, nMutex+k
		for range 100 {
			start := time.Now()
			_, err := raw.Put(b.Context(), "raw", "value")
			require.NoError(b, err)
			write, writes = write+time.Since(start), writes+1
		}
	}
	admission, handover, put := took/time.Duration(n), tookMutex/time.Duration(nMutex), write/time.Duration(writes)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(micros(admission), "µs/admission")
	b.ReportMetric(micros(handover), "µs-mutex/handover")
	b.ReportMetric(micros(put), "µs-raw/write")
	b.ReportMetric(float64(admission)/float64(handover+put), "x-handover+write")
}

// BenchmarkMulti compares lock and unlock of eight free names together with one mutex,
// and with eight mutexes one by one.
func BenchmarkMulti(b *testing.B) {
	c := etcdtest.New(b, etcdtest.WithControl())
	names := manyNames("multi/", 8)
	m, err := lock.NewMulti(sessionOf(b, c, nil), names)
	require.NoError(b, err)
	var mutexes []func()
	s := sessionOf(b, c, nil)
	for _, name := range names {
		one, err := lock.NewMutex(s, name)
		require.NoError(b, err)
		mutexes = append(mutexes, cycle(b, lockerOf(one.Lock)))
	}
	ours, mutex, oneByOne := turns(b, cycle(b, lockerOf(m.Lock)), mutexes[0], func() {
		for _, cycle := range mutexes {
			cycle()
		}
	})
	b.ReportMetric(micros(ours), "µs/op")
	b.ReportMetric(micros(mutex), "µs-mutex/op")
	b.ReportMetric(micros(oneByOne), "µs-one-by-one/op")
	b.ReportMetric(float64(ours)/float64(mutex), "x-mutex")
	b.ReportMetric(float64(ours)/float64(oneByOne), "x-one-by-one")
}

// BenchmarkMultiContended compares the hand-over of eight names among ten contenders
// with that of one mutex.
func BenchmarkMultiContended(b *testing.B) {
	c := etcdtest.New(b, etcdtest.WithControl())
	var ours, mutexes []locker
	for range 10 {
		m, err := lock.NewMulti(sessionOf(b, c, nil), manyNames("multi/", 8))
		require.NoError(b, err)
		ours = append(ours, lockerOf(m.Lock))
		mutexes = append(mutexes, conclaveLocker(b, c))
	}
	var a, m contention
	for b.Loop() {
		a.add(contend(b, ours))
		m.add(contend(b, mutexes))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(a.rate(), "locks/s")
	b.ReportMetric(m.rate(), "locks-mutex/s")
	b.ReportMetric(m.rate()/a.rate(), "x-mutex")
}

// officialReader is a reader of the official client's recipe, which knows no contexts.
func officialReader(tb testing.TB, c *etcdtest.Cluster) (read, write locker) {
	tb.Helper()
	s, err := concurrency.NewSession(c.Client(tb), concurrency.WithTTL(10))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	m := recipe.NewRWMutex(s, "recipe")
	read = func(context.Context) (func(context.Context) error, error) {
		return func(context.Context) error { return m.RUnlock() }, m.RLock()
	}
	write = func(context.Context) (func(context.Context) error, error) {
		return func(context.Context) error { return m.Unlock() }, m.Lock()
	}
	return read, write
}

// BenchmarkReader compares lock and unlock for reading of a free lock with a mutex and
// with the official client's recipe.
func BenchmarkReader(b *testing.B) {
	c := etcdtest.New(b, etcdtest.WithControl())
	m, err := lock.NewRWMutex(sessionOf(b, c, nil), "rw")
	require.NoError(b, err)
	read, _ := officialReader(b, c)
	ours, mutex, official := turns(b, cycle(b, lockerOf(m.RLock)), cycle(b, conclaveLocker(b, c)), cycle(b, read))
	b.ReportMetric(micros(ours), "µs/op")
	b.ReportMetric(micros(mutex), "µs-mutex/op")
	b.ReportMetric(micros(official), "µs-official/op")
	b.ReportMetric(float64(ours)/float64(mutex), "x-mutex")
	b.ReportMetric(float64(ours)/float64(official), "x-official")
}

// BenchmarkReadersAndWriters compares how often ten contenders are granted, of whom a
// fifth of the acquisitions are for writing, with the official client's recipe.
func BenchmarkReadersAndWriters(b *testing.B) {
	c := etcdtest.New(b, etcdtest.WithControl())
	mixed := func(seed int, read, write locker) locker {
		random := rand.New(rand.NewPCG(uint64(seed), 1))
		return func(ctx context.Context) (func(context.Context) error, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if random.IntN(5) == 0 {
				return write(ctx)
			}
			return read(ctx)
		}
	}
	var ours, official []locker
	for i := range 10 {
		m, err := lock.NewRWMutex(sessionOf(b, c, nil), "rw")
		require.NoError(b, err)
		ours = append(ours, mixed(i, lockerOf(m.RLock), lockerOf(m.Lock)))
		read, write := officialReader(b, c)
		official = append(official, mixed(i, read, write))
	}
	var took, tookOfficial time.Duration
	var n, nOfficial int64
	for b.Loop() {
		d, k := grantsIn(b, ours, time.Second/2)
		took, n = took+d, n+k
		d, k = grantsIn(b, official, time.Second/2)
		tookOfficial, nOfficial = tookOfficial+d, nOfficial+k
	}
	rate, rateOfficial := float64(n)/took.Seconds(), float64(nOfficial)/tookOfficial.Seconds()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rate, "locks/s")
	b.ReportMetric(rateOfficial, "locks-official/s")
	b.ReportMetric(rate/rateOfficial, "x-official")
}

// crowdClients is how many clients the sessions of a crowd share: a thousand clients
// and their connections would measure the machine.
const crowdClients = 10

// crowdTTL is a TTL that a thousand sessions do not lose on a machine that is busy with
// them.
const crowdTTL = time.Minute

// BenchmarkCrowd compares what a hand-over costs among many contenders, who all queue
// again at once, with that among ten, and with the official client.
func BenchmarkCrowd(b *testing.B) {
	few := map[string]time.Duration{}
	for _, n := range []int{10, 100, 1000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			c := etcdtest.New(b, etcdtest.WithControl())
			var ours, official []locker
			var clients []*clientv3.Client
			for range crowdClients {
				clients = append(clients, c.Client(b))
			}
			for i := range n {
				m, err := lock.NewMutex(sessionOf(b, c, clients[i%crowdClients]), "ours")
				require.NoError(b, err)
				ours = append(ours, lockerOf(m.Lock))
				s, err := concurrency.NewSession(clients[i%crowdClients], concurrency.WithTTL(int(crowdTTL/time.Second)))
				require.NoError(b, err)
				b.Cleanup(func() { require.NoError(b, s.Close()) })
				o := concurrency.NewMutex(s, "official")
				official = append(official, func(ctx context.Context) (func(context.Context) error, error) {
					return o.Unlock, o.Lock(ctx)
				})
			}
			a, o := &crowdCost{}, &crowdCost{}
			for b.Loop() {
				a.measure(b, clients[0], "ours/", ours)
				require.Zero(b, a.failed.Load())
				awaitCount(b, clients[0], "ours/", 0)
				o.measure(b, clients[0], "official/", official)
				// Some that were cancelled have left a key, see F6.
				_, err := clients[0].Delete(b.Context(), "official/", clientv3.WithPrefix())
				require.NoError(b, err)
			}
			for what, cost := range map[string]time.Duration{"": a.each(), "-official": o.each()} {
				if n == 10 {
					few[what] = cost
				}
				b.ReportMetric(micros(cost), "µs"+what+"/handover")
				b.ReportMetric(float64(cost)/float64(few[what]), "x-10"+what)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(a.each())/float64(o.each()), "x-official")
			b.ReportMetric(float64(o.failed.Load()), "failed-official")
		})
	}
}

// crowdCost is what hand-overs among contenders took who all stood in the queue.
type crowdCost struct {
	took   time.Duration
	grants int64
	failed atomic.Int64 // calls
}

func (c *crowdCost) each() time.Duration { return c.took / time.Duration(max(c.grants, 1)) }

// measure lets all lockers queue before the first is released, and then counts grants
// for two seconds.
func (c *crowdCost) measure(b *testing.B, client *clientv3.Client, prefix string, lockers []locker) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	unlock, err := lockers[0](ctx)
	require.NoError(b, err)
	var grants atomic.Int64
	var wg sync.WaitGroup
	again := func(take locker) {
		for ctx.Err() == nil {
			unlock, err := take(ctx)
			if err == nil {
				grants.Add(1)
				err = unlock(b.Context())
			}
			if err != nil && ctx.Err() == nil {
				c.failed.Add(1)
			}
		}
	}
	for _, take := range lockers[1:] {
		wg.Go(func() { again(take) })
	}
	awaitCount(b, client, prefix, len(lockers))
	<-time.After(10 * idle)
	start := time.Now()
	require.NoError(b, unlock(ctx))
	wg.Go(func() { again(lockers[0]) })
	<-time.After(2 * time.Second)
	c.took, c.grants = c.took+time.Since(start), c.grants+grants.Load()
	cancel()
	wg.Wait()
}

// awaitCount waits until there are n keys under prefix.
func awaitCount(b *testing.B, client *clientv3.Client, prefix string, n int) {
	b.Helper()
	require.Eventually(b, func() bool {
		resp, err := client.Get(b.Context(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err == nil && resp.Count == int64(n)
	}, guard, poll, "%d keys under %s", n, prefix)
}
