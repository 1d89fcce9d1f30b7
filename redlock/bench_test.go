package redlock_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

// Every benchmark measures the package and its rival in turn, A B A B, on the same
// redis-server processes, and reports the ratio besides the figures.

func benchNodes(b *testing.B, c *redistest.Cluster) *redlock.Nodes {
	b.Helper()
	nodes, err := redlock.NewNodes(c.Clients(b))
	require.NoError(b, err)
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = nodes.Close(ctx) // a node may be stopped
	})
	return nodes
}

func benchMutex(b *testing.B, nodes *redlock.Nodes) *redlock.Mutex {
	b.Helper()
	m, err := redlock.NewMutex(nodes, name)
	require.NoError(b, err)
	return m
}

// rawRelease is the compare-and-delete that every Redis lock has.
const rawRelease = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`

// rawLock is SET NX PX, and then rawRelease, on every node, all at once, and without
// anything else: no deadline, renewal or timeout.
func rawLock(b *testing.B, clients []redis.UniversalClient) func() {
	b.Helper()
	release := redis.NewScript(rawRelease)
	all := func(fn func(c redis.UniversalClient) error) {
		if len(clients) == 1 {
			require.NoError(b, fn(clients[0]))
			return
		}
		errs := make(chan error, len(clients))
		for _, c := range clients {
			go func() { errs <- fn(c) }()
		}
		for range clients {
			require.NoError(b, <-errs)
		}
	}
	ctx := b.Context()
	return func() {
		all(func(c redis.UniversalClient) error { return c.SetNX(ctx, "raw", "token", 10*time.Second).Err() })
		all(func(c redis.UniversalClient) error { return release.Run(ctx, c, []string{"raw"}, "token").Err() })
	}
}

// BenchmarkUncontended compares Lock and Unlock of a free lock with the bare commands.
func BenchmarkUncontended(b *testing.B) {
	for _, n := range []int{1, 3, 5} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			c := redistest.New(b, n)
			m := benchMutex(b, benchNodes(b, c))
			ctx := b.Context()
			ours, raw := turns(b, func() {
				h, err := m.Lock(ctx)
				require.NoError(b, err)
				require.NoError(b, h.Unlock(ctx))
			}, rawLock(b, c.Clients(b)))
			b.ReportMetric(micros(ours), "µs/op")
			b.ReportMetric(micros(raw), "µs-raw/op")
			b.ReportMetric(float64(ours)/float64(raw), "x-raw")
		})
	}
}

// BenchmarkTryLockHeld compares TryLock on a lock that is held with the bare command.
func BenchmarkTryLockHeld(b *testing.B) {
	for _, n := range []int{1, 5} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			c := redistest.New(b, n)
			m := benchMutex(b, benchNodes(b, c))
			ctx := b.Context()
			_, err := m.Lock(ctx)
			require.NoError(b, err)
			clients := c.Clients(b)
			require.NoError(b, clients[0].Set(ctx, "raw", "token", 0).Err())
			ours, raw := turns(b,
				func() { _, err := m.TryLock(ctx); require.ErrorIs(b, err, redlock.ErrLocked) },
				func() { require.NoError(b, clients[0].SetNX(ctx, "raw", "other", time.Second).Err()) })
			b.ReportMetric(micros(ours), "µs/op")
			b.ReportMetric(micros(raw), "µs-raw-one-node/op")
			b.ReportMetric(float64(ours)/float64(raw), "x-raw")
		})
	}
}

// BenchmarkOneOfFiveStopped measures what a node that hangs costs, as multiples of the
// node timeout.
func BenchmarkOneOfFiveStopped(b *testing.B) {
	c := redistest.New(b, 5)
	nodes := benchNodes(b, c)
	m := benchMutex(b, nodes)
	const nodeTimeout = redlock.MaxNodeTimeout
	ctx := b.Context()
	c.Node(2).Stop(b)
	var lock, extend, unlock []time.Duration
	for b.Loop() {
		start := time.Now()
		h, err := m.Lock(ctx)
		require.NoError(b, err)
		locked := time.Now()
		require.NoError(b, h.Extend(ctx))
		extended := time.Now()
		require.NoError(b, h.Unlock(ctx))
		lock = append(lock, locked.Sub(start))
		extend = append(extend, extended.Sub(locked))
		unlock = append(unlock, time.Since(extended))
	}
	b.ReportMetric(0, "ns/op")
	for what, took := range map[string][]time.Duration{"Lock": lock, "Extend": extend, "Unlock": unlock} {
		b.ReportMetric(micros(percentile(took, 50)), "µs-"+what)
		b.ReportMetric(float64(slices.Max(took))/float64(nodeTimeout), "x-timeout-max-"+what)
	}
	c.Node(2).Continue(b)
}

// BenchmarkHandover measures the time from the call of Unlock to the return of one
// waiter's Lock, beside a bare publish to its subscriber.
func BenchmarkHandover(b *testing.B) {
	for _, n := range []int{1, 5} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			c := redistest.New(b, n)
			first, second := benchMutex(b, benchNodes(b, c)), benchMutex(b, benchNodes(b, c))
			raw := rawPublish(b, c)
			var ours, bare []time.Duration
			for b.Loop() {
				ours = append(ours, passOn(b, first, second))
				bare = append(bare, raw())
			}
			b.ReportMetric(0, "ns/op")
			for _, p := range []int{50, 90, 99} {
				b.ReportMetric(micros(percentile(ours, p)), fmt.Sprintf("µs-p%d", p))
			}
			b.ReportMetric(micros(percentile(bare, 50)), "µs-raw-publish")
			b.ReportMetric(float64(percentile(ours, 50))/float64(percentile(bare, 50)), "p50-x-raw")
		})
	}
}

// idle is how long nothing happens before a hand-over.
const idle = 5 * time.Millisecond

func passOn(b *testing.B, first, second *redlock.Mutex) time.Duration {
	b.Helper()
	ctx := b.Context()
	h, err := first.Lock(ctx)
	require.NoError(b, err)
	type grant struct {
		at   time.Time
		hold *redlock.Hold
		err  error
	}
	granted := make(chan grant, 1)
	go func() {
		h, err := second.Lock(ctx)
		granted <- grant{time.Now(), h, err}
	}()
	<-time.After(idle) // the waiter has long subscribed
	start := time.Now()
	require.NoError(b, h.Unlock(ctx))
	g := <-granted
	require.NoError(b, g.err)
	require.NoError(b, g.hold.Unlock(ctx))
	return g.at.Sub(start)
}

func rawPublish(b *testing.B, c *redistest.Cluster) func() time.Duration {
	b.Helper()
	ctx := b.Context()
	clients := c.Clients(b)
	sub := clients[0].Subscribe(ctx, "raw")
	_, err := sub.Receive(ctx)
	require.NoError(b, err)
	b.Cleanup(func() { _ = sub.Close() })
	return func() time.Duration {
		<-time.After(idle)
		start := time.Now()
		require.NoError(b, clients[0].Publish(ctx, "raw", "message").Err())
		_, err := sub.ReceiveMessage(ctx)
		require.NoError(b, err)
		return time.Since(start)
	}
}

// BenchmarkContended measures throughput with contenders that have clients of their own.
func BenchmarkContended(b *testing.B) {
	for _, n := range []int{1, 5} {
		for _, contenders := range []int{2, 10} {
			b.Run(fmt.Sprintf("%d/%d", n, contenders), func(b *testing.B) {
				c := redistest.New(b, n)
				var all []*redlock.Mutex
				for range contenders {
					all = append(all, benchMutex(b, benchNodes(b, c)))
				}
				var x contention
				contend(b, all)
				for b.Loop() {
					x.add(contend(b, all))
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(x.grants)/x.took.Seconds(), "locks/s")
				for _, p := range []int{50, 90, 99} {
					b.ReportMetric(micros(percentile(x.handovers, p)), fmt.Sprintf("µs-p%d", p))
				}
			})
		}
	}
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

// contend lets all take and release one lock as fast as they can, for half a second.
func contend(b *testing.B, all []*redlock.Mutex) contention {
	b.Helper()
	var result contention
	var released time.Time // both are protected by the lock in question
	start := time.Now()
	ctx, end := context.WithTimeout(b.Context(), 500*time.Millisecond)
	defer end()
	done := make(chan error, len(all))
	for _, m := range all {
		go func() {
			for {
				h, err := m.Lock(ctx)
				if err != nil {
					done <- nil // the window is over
					return
				}
				if now := time.Now(); !released.IsZero() {
					result.handovers = append(result.handovers, now.Sub(released))
				}
				result.grants++
				released = time.Now()
				if err := h.Unlock(b.Context()); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for range all {
		require.NoError(b, <-done)
	}
	result.took = time.Since(start)
	return result
}

// turns runs the two functions in turn and returns the median time of each.
func turns(b *testing.B, ours, rival func()) (x, y time.Duration) {
	b.Helper()
	fns := [2]func(){ours, rival}
	var took [2][]time.Duration
	for _, fn := range fns { // warm up
		fn()
	}
	for n := 0; b.Loop(); n++ {
		for j := range fns {
			i := (n + j) % len(fns) // neither is always the first
			start := time.Now()
			fns[i]()
			took[i] = append(took[i], time.Since(start))
		}
	}
	b.ReportMetric(0, "ns/op")
	return percentile(took[0], 50), percentile(took[1], 50)
}

func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
