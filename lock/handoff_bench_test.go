package lock_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// visit takes a lock and releases it.
type visit func(ctx context.Context) error

// mutexVisit is that of a mutex on a session of its own.
func mutexVisit(tb testing.TB, c *etcdtest.Cluster, name string, opts ...lock.Option) visit {
	tb.Helper()
	s, err := lease.NewSession(tb.Context(), c.Client(tb), lease.WithTTL(calm))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close(context.Background())) })
	m, err := lock.NewMutex(s, name, opts...)
	require.NoError(tb, err)
	return func(ctx context.Context) error {
		h, err := m.Lock(ctx)
		if err != nil {
			return err
		}
		return h.Unlock(ctx)
	}
}

// channelVisit is that of a channel, the simplest lock that can be waited for with a
// context.
func channelVisit() visit {
	turn := make(chan struct{}, 1)
	return func(ctx context.Context) error {
		select {
		case turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		<-turn
		return nil
	}
}

// crowd has one goroutine for each visit repeat it for a while, and returns how long
// one took.
func crowd(b *testing.B, visits []visit) time.Duration {
	b.Helper()
	var all sync.WaitGroup
	var n atomic.Int64
	var over atomic.Bool
	began := time.Now()
	for _, v := range visits {
		all.Go(func() {
			for !over.Load() {
				if err := v(b.Context()); err != nil {
					b.Error(err)
					return
				}
				n.Add(1)
			}
		})
	}
	<-time.After(300 * time.Millisecond)
	over.Store(true)
	all.Wait()
	return time.Since(began) / time.Duration(n.Load())
}

// BenchmarkLocalHandoff compares the throughput of 64 goroutines of one process: with
// local hand-off, with the official mutex, where each has to have a session of its own,
// and with a channel.
func BenchmarkLocalHandoff(b *testing.B) {
	const goroutines = 64
	c := etcdtest.New(b, etcdtest.WithControl())
	repeat := func(v visit) (all []visit) {
		for range goroutines {
			all = append(all, v)
		}
		return all
	}
	ours := repeat(mutexVisit(b, c, "ours", lock.WithLocalHandoff(lock.MaxHandoffs)))
	channel := repeat(channelVisit())
	var official []visit
	for range goroutines {
		take := officialLocker(b, c)
		official = append(official, func(ctx context.Context) error {
			unlock, err := take(ctx)
			if err != nil {
				return err
			}
			return unlock(ctx)
		})
	}
	var x, y, z []time.Duration
	for b.Loop() {
		x = append(x, crowd(b, ours))
		y = append(y, crowd(b, official))
		z = append(z, crowd(b, channel))
	}
	us, them, raw := percentile(x, 50), percentile(y, 50), percentile(z, 50)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(micros(us), "µs/lock")
	b.ReportMetric(micros(them), "µs-official/lock")
	b.ReportMetric(micros(raw), "µs-channel/lock")
	b.ReportMetric(float64(them)/float64(us), "x-faster-than-official")
	b.ReportMetric(float64(us)/float64(raw), "x-channel")
}

// BenchmarkLinger compares locking and unlocking a lock that lingers with the same of one
// that does not, and with a channel. Allocations are those of the first.
func BenchmarkLinger(b *testing.B) {
	c := etcdtest.New(b, etcdtest.WithControl())
	lingering := mutexVisit(b, c, "lingers", lock.WithLinger(lock.MaxLinger))
	plain, channel := mutexVisit(b, c, "plain"), channelVisit()
	const n = 1000
	var x, y, z []time.Duration
	var mallocs, bytes uint64
	var before, after runtime.MemStats
	took := func(v visit, n int) time.Duration {
		began := time.Now()
		for range n {
			if err := v(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(began) / time.Duration(n)
	}
	took(lingering, 10)
	for b.Loop() {
		runtime.ReadMemStats(&before)
		x = append(x, took(lingering, n))
		runtime.ReadMemStats(&after)
		mallocs, bytes = mallocs+after.Mallocs-before.Mallocs, bytes+after.TotalAlloc-before.TotalAlloc
		y = append(y, took(plain, n/100))
		z = append(z, took(channel, n))
	}
	us, unkept, raw := percentile(x, 50), percentile(y, 50), percentile(z, 50)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(micros(us), "µs/lock")
	b.ReportMetric(float64(mallocs)/float64(n*len(x)), "allocs/lock")
	b.ReportMetric(float64(bytes)/float64(n*len(x)), "B/lock")
	b.ReportMetric(float64(unkept)/float64(us), "x-faster-than-without")
	b.ReportMetric(float64(us)/float64(raw), "x-channel")
}

// BenchmarkLingerGivenUp compares how long another process waits for a lock that lingers
// with the enqueue and the hand-over that it costs at least.
func BenchmarkLingerGivenUp(b *testing.B) {
	c := etcdtest.New(b, etcdtest.WithControl())
	lingering, other := mutexVisit(b, c, "lingers", lock.WithLinger(lock.MaxLinger)), mutexVisit(b, c, "lingers")
	plain := []locker{conclaveLocker(b, c), conclaveLocker(b, c)}
	raw := c.Client(b)
	var x, y, z []time.Duration
	for b.Loop() {
		require.NoError(b, lingering(b.Context()))
		<-time.After(idle) // its watch has long begun
		began := time.Now()
		require.NoError(b, other(b.Context()))
		x = append(x, time.Since(began))
		y = append(y, passOn(b, plain))
		began = time.Now()
		for range 2 { // the enqueue, and the Unlock that ends the visit
			_, err := raw.Put(b.Context(), "raw", "v")
			require.NoError(b, err)
		}
		z = append(z, time.Since(began))
	}
	given, handover, writes := percentile(x, 50), percentile(y, 50), percentile(z, 50)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(micros(given), "µs-p50")
	b.ReportMetric(micros(percentile(x, 99)), "µs-p99")
	b.ReportMetric(micros(handover), "µs-handover")
	b.ReportMetric(float64(given-writes)/float64(handover), "x-handover")
}

// holdsVariable says how many locks [BenchmarkManyHolds] holds.
const (
	holdsVariable = "CONCLAVE_HOLDS"
	holdsDefault  = 20_000
)

// BenchmarkManyHolds reports what many locks on one session cost while they are held. The
// memory is what they take beyond that of the same keys put by a bare client, since the
// server is in the same process.
func BenchmarkManyHolds(b *testing.B) {
	n := holdsDefault
	if s := os.Getenv(holdsVariable); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(b, err, holdsVariable)
	}
	const ttl = 30 * time.Second
	for b.Loop() {
		bare := bareKeys(b, n)
		c := etcdtest.New(b, etcdtest.WithControl())
		var rec looksRecorder
		s, err := lease.NewSession(b.Context(), c.Client(b), lease.WithTTL(ttl), lease.WithObserver(lease.Observer{Renewed: rec.renewed}))
		require.NoError(b, err)
		before := measure()
		began := time.Now()
		holds := make([]*lock.Hold, n)
		parallel(b, n, func(i int) error {
			m, err := lock.NewMutex(s, fmt.Sprintf("hold-%d", i))
			if err == nil {
				holds[i], err = m.Lock(b.Context())
			}
			return err
		})
		locked := time.Since(began)
		held := measure()
		rec.reset()
		<-time.After(ttl / 3) // one round of each lease
		renewals, took := rec.read()
		for _, h := range holds {
			require.NoError(b, h.Err())
		}
		began = time.Now()
		parallel(b, n, func(i int) error { return holds[i].Unlock(b.Context()) })
		unlocked := time.Since(began)
		require.NoError(b, s.Close(context.Background()))
		b.ReportMetric(0, "ns/op")
		b.ReportMetric((held.heap-before.heap)/float64(n)-bare, "B/hold")
		b.ReportMetric(bare, "B-server/key")
		b.ReportMetric((held.goroutines-before.goroutines)/float64(n), "goroutines/hold")
		b.ReportMetric(float64(renewals)/(ttl/3).Seconds(), "renewals/s")
		b.ReportMetric(took.Seconds()*1000, "ms/renewal-and-look")
		b.ReportMetric(float64(locked.Microseconds())/float64(n), "µs/lock")
		b.ReportMetric(float64(unlocked.Microseconds())/float64(n), "µs/unlock")
	}
}

// bareKeys returns how many bytes the server takes for a key of a lock.
func bareKeys(b *testing.B, n int) float64 {
	b.Helper()
	c := etcdtest.New(b, etcdtest.WithControl())
	client := c.Client(b)
	granted, err := client.Grant(b.Context(), int64(calm/time.Second))
	require.NoError(b, err)
	before := measure()
	parallel(b, n, func(i int) error {
		_, err := client.Put(b.Context(), fmt.Sprintf("hold-%d/~mutex/%x", i, int64(granted.ID)),
			`{"nonce":"0123456789abcdef","owner":"host:12345","since":"2026-01-01T00:00:00.000000000Z"}`, clientv3.WithLease(granted.ID))
		return err
	})
	return (measure().heap - before.heap) / float64(n)
}

// parallel does n things, several at a time.
func parallel(b *testing.B, n int, do func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// looksRecorder adds up renewals.
type looksRecorder struct {
	mu   sync.Mutex
	n    int
	took time.Duration
}

func (r *looksRecorder) renewed(_ *lease.Lease, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	r.took += took
}

func (r *looksRecorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n, r.took = 0, 0
}

// read returns how many renewals there were, and how long one took.
func (r *looksRecorder) read() (n int, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n, r.took / time.Duration(max(r.n, 1))
}
