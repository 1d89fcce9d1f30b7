package watch_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/watch"
)

// manyKeys is how many keys the benchmarks of a cache have.
const manyKeys = 100_000

// manyNames are keys as services have them, in random order.
func manyNames() []string {
	names := make([]string, manyKeys)
	for i := range names {
		names[i] = fmt.Sprintf("/services/production/%06d/config", i)
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names
}

// number decodes a number.
func number(_ string, value []byte) (int, error) { return strconv.Atoi(string(value)) }

// manyItems is a cache of the names, without a server.
func manyItems(names []string) (*watch.Cache[int], *store) {
	s, c := newStore(), watch.Offline(number)
	b := watch.Batch{Snapshot: true, Revision: s.revision}
	for i, name := range slices.Sorted(slices.Values(names)) {
		b.Events = append(b.Events, s.put(name, strconv.Itoa(i)))
	}
	c.Apply(b)
	return c, s
}

// BenchmarkCacheLoad compares the load of a cache with raw paginated reads of the same
// keys, which only count them, in pages of 1,000 and 10,000.
func BenchmarkCacheLoad(b *testing.B) {
	cluster := etcdtest.New(b, etcdtest.WithControl())
	client := cluster.Client(b)
	fill(b, client, "k/", manyKeys, strings.Repeat("v", 100))
	ctx := b.Context()
	raw := func(limit int64) time.Duration {
		start := time.Now()
		n, rev := 0, int64(0)
		for from := "k/"; ; {
			resp, err := client.Get(ctx, from, clientv3.WithRange("k0"), clientv3.WithLimit(limit), clientv3.WithRev(rev))
			require.NoError(b, err)
			n, rev = n+len(resp.Kvs), resp.Header.Revision
			if !resp.More {
				require.Equal(b, manyKeys, n)
				return time.Since(start)
			}
			from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
		}
	}
	load := func() time.Duration {
		start := time.Now()
		c, err := watch.NewCache(ctx, client, "k/", text)
		took := time.Since(start)
		require.NoError(b, err)
		require.Equal(b, manyKeys, c.Snapshot().Len())
		require.NoError(b, c.Close(ctx))
		return took
	}
	raw(10_000) // warm up
	load()
	var ours, large, small []time.Duration
	for b.Loop() {
		runtime.GC()
		large = append(large, raw(10_000))
		runtime.GC()
		ours = append(ours, load())
		runtime.GC()
		small = append(small, raw(1000))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(middle(ours).Seconds()*1e3, "ms")
	b.ReportMetric(middle(large).Seconds()*1e3, "ms-raw-10000")
	b.ReportMetric(middle(small).Seconds()*1e3, "ms-raw-1000")
	b.ReportMetric(float64(middle(ours))/float64(middle(large)), "x-raw-10000")
	b.ReportMetric(float64(middle(ours))/float64(middle(small)), "x-raw-1000")
}

func middle(all []time.Duration) time.Duration { return slices.Sorted(slices.Values(all))[len(all)/2] }

// BenchmarkCacheGet compares Get with a look-up in a plain map of the same items, of
// keys at random, in key order and of a few hot ones.
func BenchmarkCacheGet(b *testing.B) {
	names := manyNames()
	c, _ := manyItems(names)
	plain := make(map[string]watch.Item[int], manyKeys)
	for name, item := range c.Snapshot().All() {
		plain[strings.Clone(name)] = item
	}
	for name, keys := range map[string][]string{
		"random": names, "ordered": slices.Sorted(slices.Values(names)), "hot": names[:100],
	} {
		b.Run(name, func(b *testing.B) {
			var sink int64
			fromMap := func() time.Duration {
				start := time.Now()
				for _, key := range keys {
					item := plain[key]
					sink += item.ModRevision
				}
				return time.Since(start)
			}
			fromCache := func() time.Duration {
				start := time.Now()
				for _, key := range keys {
					item, _ := c.Get(key)
					sink += item.ModRevision
				}
				return time.Since(start)
			}
			require.Zero(b, testing.AllocsPerRun(10, func() { fromCache() }))
			var ours, raw []time.Duration
			for b.Loop() {
				ours, raw = append(ours, fromCache()), append(raw, fromMap())
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(middle(ours))/float64(len(keys)), "ns/get")
			b.ReportMetric(float64(middle(raw))/float64(len(keys)), "ns-plain-map/get")
			b.ReportMetric(float64(middle(ours))/float64(middle(raw)), "x-plain-map")
			require.NotZero(b, sink)
		})
	}
}

// BenchmarkCacheGetParallel is Get by all processors at once while a writer writes,
// against a plain map behind a [sync.RWMutex] with the same writer.
func BenchmarkCacheGetParallel(b *testing.B) {
	names := manyNames()
	c, s := manyItems(names)
	var mu sync.RWMutex
	plain := maps.Collect(c.Snapshot().All())
	// gets returns the time of a Get by each of the processors.
	gets := func(get func(key string), write func(i int)) time.Duration {
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(100 * time.Microsecond):
					write(i)
				}
			}
		}()
		start := time.Now()
		var wg sync.WaitGroup
		for range runtime.GOMAXPROCS(0) {
			wg.Go(func() {
				for _, key := range names {
					get(key)
				}
			})
		}
		wg.Wait()
		took := time.Since(start)
		close(stop)
		<-stopped
		return took / manyKeys
	}
	var ours, raw []time.Duration
	for b.Loop() {
		ours = append(ours, gets(func(key string) { c.Get(key) }, func(i int) {
			c.Apply(s.batch(s.putting(names[i%manyKeys], "1")))
		}))
		raw = append(raw, gets(func(key string) {
			mu.RLock()
			defer mu.RUnlock()
			_ = plain[key]
		}, func(i int) {
			mu.Lock()
			defer mu.Unlock()
			plain[names[i%manyKeys]] = watch.Item[int]{}
		}))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(middle(ours)), "ns/get")
	b.ReportMetric(float64(middle(raw)), "ns-locked-map/get")
	b.ReportMetric(float64(middle(ours))/float64(middle(raw)), "x-locked-map")
}

// BenchmarkCacheMemory compares the memory of a cache with that of a plain map of the
// same keys and items, keys included.
func BenchmarkCacheMemory(b *testing.B) {
	names := manyNames()
	for b.Loop() {
		c, raw := costOfMap(names)
		before := inUse()
		runtime.KeepAlive(c)
		ours := before - inUse()
		b.ReportMetric(ours/manyKeys, "B/key")
		b.ReportMetric(raw/manyKeys, "B-plain-map/key")
		b.ReportMetric(ours/raw, "x-plain-map")
	}
	b.ReportMetric(0, "ns/op")
}

// costOfMap returns a cache and the memory of a plain map of what is in it.
func costOfMap(names []string) (*watch.Cache[int], float64) {
	c, _ := manyItems(names)
	before := inUse()
	plain := make(map[string]watch.Item[int])
	for name, item := range c.Snapshot().All() {
		plain[strings.Clone(name)] = item
	}
	cost := inUse() - before
	runtime.KeepAlive(plain)
	return c, cost
}

func inUse() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkCacheSnapshot takes snapshots while a writer writes as fast as it can, each
// of them after a write, so that none is shared.
func BenchmarkCacheSnapshot(b *testing.B) {
	names := manyNames()
	c, s := manyItems(names)
	stop, written := make(chan struct{}), make(chan int)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				written <- i
				return
			default:
				c.Apply(s.batch(s.putting(names[i%manyKeys], "1")))
			}
		}
	}()
	var took []time.Duration
	start := time.Now()
	for b.Loop() {
		began := time.Now()
		snapshot := c.Snapshot()
		took = append(took, time.Since(began))
		if snapshot.Len() != manyKeys {
			b.Fatal(snapshot.Len())
		}
	}
	elapsed := time.Since(start)
	close(stop)
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100])/1e3, "µs-p99")
	b.ReportMetric(float64(took[len(took)-1])/1e3, "µs-max")
	b.ReportMetric(float64(<-written)/elapsed.Seconds(), "writes/s")
}

// BenchmarkCacheSubscribers reports what each of a thousand consumers of changes costs
// and how long it takes from a write until all of them have it, next to one.
func BenchmarkCacheSubscribers(b *testing.B) {
	cluster := etcdtest.New(b, etcdtest.WithControl())
	client := cluster.Client(b)
	fill(b, client, "k/", 1000, "value")
	c := newTextCache(b, client, "k/")
	for _, n := range []int{1, 1000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			var replayed, delivered, ended sync.WaitGroup
			replayed.Add(n)
			before, goroutines := inUse(), runtime.NumGoroutine()
			for range n {
				ended.Go(func() {
					seen := 0
					for change, err := range c.Changes(ctx) {
						if err != nil {
							return
						}
						if !change.Initial {
							delivered.Done()
						} else if seen++; seen == 1000 {
							replayed.Done()
						}
					}
				})
			}
			replayed.Wait()
			b.ReportMetric((inUse()-before)/float64(n), "B/consumer")
			memory := (inUse() - before) / float64(n)
			extra := runtime.NumGoroutine() - goroutines - n // beside the consumers' own
			var took []time.Duration
			for b.Loop() {
				delivered.Add(n)
				start := time.Now()
				_, err := client.Put(ctx, "k/000007", "new")
				require.NoError(b, err)
				delivered.Wait()
				took = append(took, time.Since(start))
			}
			cancel()
			ended.Wait()
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(memory, "B/consumer")
			b.ReportMetric(float64(extra), "goroutines")
			b.ReportMetric(float64(middle(took))/1e3, "µs-put-to-all")
		})
	}
}
