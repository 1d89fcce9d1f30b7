package lock_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// Every benchmark measures Conclave and its rivals in turn, A B A B, on one embedded
// etcd, and reports the ratio besides the figures.

// locker takes a lock and returns how to release it.
type locker func(ctx context.Context) (unlock func(context.Context) error, err error)

func conclaveLocker(tb testing.TB, c *etcdtest.Cluster) locker {
	tb.Helper()
	m := benchMutex(tb, c)
	return func(ctx context.Context) (func(context.Context) error, error) {
		h, err := m.Lock(ctx)
		if err != nil {
			return nil, err
		}
		return h.Unlock, nil
	}
}

func benchMutex(tb testing.TB, c *etcdtest.Cluster) *lock.Mutex {
	tb.Helper()
	s, err := lease.NewSession(tb.Context(), c.Client(tb))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close(context.Background())) })
	m, err := lock.NewMutex(s, "ours")
	require.NoError(tb, err)
	return m
}

func officialLocker(tb testing.TB, c *etcdtest.Cluster) locker {
	tb.Helper()
	s, err := concurrency.NewSession(c.Client(tb), concurrency.WithTTL(10))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	m := concurrency.NewMutex(s, "official")
	return func(ctx context.Context) (func(context.Context) error, error) {
		return m.Unlock, m.Lock(ctx)
	}
}

// BenchmarkUncontended compares lock and unlock of a free lock with the official
// client and with a bare put and delete.
func BenchmarkUncontended(b *testing.B) {
	c := etcdtest.New(b, etcdtest.WithControl())
	ctx := b.Context()
	cycle := func(take locker) func() {
		return func() {
			unlock, err := take(ctx)
			require.NoError(b, err)
			require.NoError(b, unlock(ctx))
		}
	}
	raw := c.Client(b)
	ours, official, bare := turns(b,
		cycle(conclaveLocker(b, c)),
		cycle(officialLocker(b, c)),
		func() {
			_, err := raw.Put(ctx, "raw", "value")
			require.NoError(b, err)
			_, err = raw.Delete(ctx, "raw")
			require.NoError(b, err)
		})
	b.ReportMetric(micros(ours), "µs/op")
	b.ReportMetric(micros(official), "µs-official/op")
	b.ReportMetric(micros(bare), "µs-raw/op")
	b.ReportMetric(float64(ours)/float64(official), "x-official")
	b.ReportMetric(float64(ours)/float64(bare), "x-raw")
}

// BenchmarkTryLockHeld compares TryLock on a lock that is held.
func BenchmarkTryLockHeld(b *testing.B) {
	c := etcdtest.New(b, etcdtest.WithControl())
	ctx := b.Context()
	_, err := conclaveLocker(b, c)(ctx)
	require.NoError(b, err)
	_, err = officialLocker(b, c)(ctx)
	require.NoError(b, err)
	m := benchMutex(b, c)
	s, err := concurrency.NewSession(c.Client(b))
	require.NoError(b, err)
	o := concurrency.NewMutex(s, "official")
	ours, official, _ := turns(b,
		func() { _, err := m.TryLock(ctx); require.ErrorIs(b, err, lock.ErrLocked) },
		func() { require.ErrorIs(b, o.TryLock(ctx), concurrency.ErrLocked) },
		func() {})
	b.ReportMetric(micros(ours), "µs/op")
	b.ReportMetric(micros(official), "µs-official/op")
	b.ReportMetric(float64(ours)/float64(official), "x-official")
	require.NoError(b, s.Close())
}

// turns runs the three functions in turn and returns the median time of each.
func turns(b *testing.B, first, second, third func()) (x, y, z time.Duration) {
	b.Helper()
	fns := [3]func(){first, second, third}
	var took [3][]time.Duration
	for _, fn := range fns { // warm up
		fn()
	}
	for n := 0; b.Loop(); n++ {
		for j := range fns {
			i := (n + j) % len(fns) // none is always the first
			start := time.Now()
			fns[i]()
			took[i] = append(took[i], time.Since(start))
		}
	}
	b.ReportMetric(0, "ns/op")
	return percentile(took[0], 50), percentile(took[1], 50), percentile(took[2], 50)
}

// BenchmarkContended compares throughput and hand-over times with n contenders that
// have a client each, and the hand-over with the time from a raw delete to its event
// at a watcher.
func BenchmarkContended(b *testing.B) {
	for _, n := range []int{2, 3, 10, 100} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			c := etcdtest.New(b, etcdtest.WithControl())
			var ours, official []locker
			for range n {
				ours = append(ours, conclaveLocker(b, c))
				official = append(official, officialLocker(b, c))
			}
			raw := rawEvents(b, c)
			contend(b, ours) // warm up
			contend(b, official)
			var a, o contention
			var events []time.Duration
			for b.Loop() {
				a.add(contend(b, ours))
				o.add(contend(b, official))
				events = append(events, raw(50, 0)...)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(a.rate(), "locks/s")
			b.ReportMetric(o.rate(), "locks-official/s")
			b.ReportMetric(a.rate()/o.rate(), "x-official")
			for _, p := range []int{50, 90, 99} {
				b.ReportMetric(micros(percentile(a.handovers, p)), fmt.Sprintf("µs-p%d", p))
				b.ReportMetric(micros(percentile(o.handovers, p)), fmt.Sprintf("µs-p%d-official", p))
			}
			event := percentile(events, 50)
			b.ReportMetric(micros(event), "µs-raw-event")
			b.ReportMetric(float64(percentile(a.handovers, 50))/float64(event), "p50-x-raw-event")
		})
	}
}

// BenchmarkHandover compares the time from the call of Unlock to the return of one
// waiter's Lock with the time from a raw delete to its event, on an idle cluster.
func BenchmarkHandover(b *testing.B) {
	c := etcdtest.New(b, etcdtest.WithControl())
	ours := []locker{conclaveLocker(b, c), conclaveLocker(b, c)}
	official := []locker{officialLocker(b, c), officialLocker(b, c)}
	raw := rawEvents(b, c)
	var x, y, z []time.Duration
	for b.Loop() {
		x = append(x, passOn(b, ours))
		y = append(y, passOn(b, official))
		z = append(z, raw(1, idle)...)
	}
	b.ReportMetric(0, "ns/op")
	for _, p := range []int{50, 90, 99} {
		b.ReportMetric(micros(percentile(x, p)), fmt.Sprintf("µs-p%d", p))
		b.ReportMetric(micros(percentile(y, p)), fmt.Sprintf("µs-p%d-official", p))
	}
	b.ReportMetric(micros(percentile(z, 50)), "µs-raw-event")
	b.ReportMetric(float64(percentile(x, 50))/float64(percentile(z, 50)), "p50-x-raw-event")
}

// passOn measures one hand-over from the first locker to the second.
func passOn(b *testing.B, lockers []locker) time.Duration {
	b.Helper()
	ctx := b.Context()
	unlock, err := lockers[0](ctx)
	require.NoError(b, err)
	type grant struct {
		at     time.Time
		unlock func(context.Context) error
		err    error
	}
	granted := make(chan grant, 1)
	go func() {
		unlock, err := lockers[1](ctx)
		granted <- grant{time.Now(), unlock, err}
	}()
	<-time.After(idle) // the waiter's watch has long begun
	start := time.Now()
	require.NoError(b, unlock(ctx))
	g := <-granted
	require.NoError(b, g.err)
	require.NoError(b, g.unlock(ctx))
	return g.at.Sub(start)
}

// contention is what a contest for one lock has shown.
type contention struct {
	grants    int
	took      time.Duration
	handovers []time.Duration // from the call of Unlock to the return of the next Lock
}

func (c *contention) add(d contention) {
	c.grants += d.grants
	c.took += d.took
	c.handovers = append(c.handovers, d.handovers...)
}

func (c *contention) rate() float64 { return float64(c.grants) / c.took.Seconds() }

// contend lets all lockers take and release one lock as fast as they can, for half a
// second.
func contend(tb testing.TB, lockers []locker) contention {
	tb.Helper()
	var (
		result   contention
		released time.Time // both are protected by the lock in question
		wg       sync.WaitGroup
		start    = time.Now()
		ctx, end = context.WithTimeout(tb.Context(), 500*time.Millisecond)
	)
	defer end()
	for _, take := range lockers {
		wg.Go(func() {
			for ctx.Err() == nil {
				unlock, err := take(ctx)
				if err != nil {
					return // the window is over
				}
				if now := time.Now(); !released.IsZero() {
					result.handovers = append(result.handovers, now.Sub(released))
				}
				result.grants++
				released = time.Now()
				require.NoError(tb, unlock(tb.Context()))
			}
		})
	}
	wg.Wait()
	result.took = time.Since(start)
	return result
}

// idle is how long nothing happens before a hand-over on an idle cluster. The raw
// event that it is compared with comes after the same silence.
const idle = 5 * time.Millisecond

// rawEvents returns a function that measures n times how long it takes from the call
// of Delete, after a pause, until a watcher with another client sees the event.
func rawEvents(tb testing.TB, c *etcdtest.Cluster) func(n int, pause time.Duration) []time.Duration {
	tb.Helper()
	ctx := tb.Context()
	writer := c.Client(tb)
	events := c.Client(tb).Watch(ctx, "raw", clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	<-events
	return func(n int, pause time.Duration) []time.Duration {
		var took []time.Duration
		for range n {
			_, err := writer.Put(ctx, "raw", "value")
			require.NoError(tb, err)
			<-time.After(pause)
			start := time.Now()
			_, err = writer.Delete(ctx, "raw")
			require.NoError(tb, err)
			<-events
			took = append(took, time.Since(start))
		}
		return took
	}
}

// BenchmarkFootprint reports what a hold and a waiter cost in the client's process,
// with a thousand of each on one session. The embedded server's share of the memory
// is in it.
func BenchmarkFootprint(b *testing.B) {
	const n = 1000
	for b.Loop() {
		c := etcdtest.New(b, etcdtest.WithControl())
		s, err := lease.NewSession(b.Context(), c.Client(b))
		require.NoError(b, err)
		before := measure()
		for i := range n {
			m, err := lock.NewMutex(s, fmt.Sprintf("hold-%d", i))
			require.NoError(b, err)
			_, err = m.Lock(b.Context())
			require.NoError(b, err)
		}
		held := measure()
		ctx, cancel := context.WithCancel(b.Context())
		var wg sync.WaitGroup
		for i := range n {
			m, err := lock.NewMutex(s, fmt.Sprintf("hold-%d", i))
			require.NoError(b, err)
			wg.Go(func() {
				_, err := m.Lock(ctx)
				require.Error(b, err)
			})
		}
		require.Eventually(b, func() bool {
			resp, err := s.Client().Get(ctx, "hold-", clientv3.WithPrefix(), clientv3.WithCountOnly())
			return err == nil && resp.Count == 2*n
		}, time.Minute, 10*time.Millisecond)
		waiting := measure()
		cancel()
		wg.Wait()
		require.NoError(b, s.Close(context.Background()))
		b.ReportMetric(0, "ns/op")
		b.ReportMetric((held.heap-before.heap)/n, "B/hold")
		b.ReportMetric((held.goroutines-before.goroutines)/n, "goroutines/hold")
		b.ReportMetric((waiting.heap-held.heap)/n, "B/waiter")
		b.ReportMetric((waiting.goroutines-held.goroutines)/n, "goroutines/waiter")
	}
}

type footprint struct{ heap, goroutines float64 }

func measure() footprint {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{heap: float64(m.HeapAlloc), goroutines: float64(runtime.NumGoroutine())}
}

func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
