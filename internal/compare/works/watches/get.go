package watches

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

const (
	// gets is how often each processor asks in a round, requests how often it asks etcd.
	gets, requests = 500_000, 500
	// gotKeys is how many keys there are to ask for.
	gotKeys = 10_000
)

var errMissing = errors.New("no such key")

// get measures look-ups by all processors at once, of keys in random order.
func get() perf.Work {
	return perf.Work{
		Name:    "watch/cache-get",
		Title:   "the look-up of one of 10,000 keys, by all processors at once",
		On:      perf.EtcdFast,
		Metrics: []perf.Metric{{Name: "get", Unit: "ns", Stats: []perf.Stat{perf.P50}}},
		Rounds:  20, Quick: 3,
		Begin: beginGet,
	}
}

// lookUp returns the size of a key's value, and whether there is such a key.
type lookUp func(key string) (size int, ok bool)

func beginGet(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
	all, err := clients(ctx, on, 2)
	if err != nil {
		return nil, nil, err
	}
	prefix := prefix("get")
	keys := names(prefix, gotKeys)
	if err := fill(ctx, all[0], keys); err != nil {
		return nil, nil, err
	}
	plain, err := newMap(ctx, all[0], prefix)
	if err != nil {
		return nil, nil, err
	}
	cache, err := newCache(ctx, all[1], prefix)
	if err != nil {
		return nil, nil, err
	}
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	side := func(name, lacks string, n int, get lookUp) perf.Side {
		return perf.Side{Name: name, Lacks: lacks, Round: func(context.Context) (perf.Samples, error) {
			took, err := lookUps(keys, n, get)
			return perf.Samples{"get": {took}}, err
		}}
	}
	return []perf.Side{
		side("conclave", "", gets, func(key string) (int, bool) {
			item, ok := cache.Get(key)
			return len(item.Value), ok
		}),
		side("sync.Map", "is not kept up to date, no state at one revision", gets, inSyncMap(plain)),
		side("map and RWMutex", "is not kept up to date, no state at one revision", gets, inLockedMap(plain)),
		side("raw", "a serializable read", requests, inEtcd(ctx, all[0])),
	}, func() error { return cache.Close(ctx) }, nil
}

// lookUps returns how many nanoseconds a processor takes for one of n look-ups.
func lookUps(keys []string, n int, get lookUp) (float64, error) {
	procs := runtime.GOMAXPROCS(0)
	errs := make([]error, procs)
	var wg sync.WaitGroup
	start := time.Now()
	for p := range procs {
		wg.Go(func() {
			for i := range n {
				key := keys[(i+p*len(keys)/procs)%len(keys)]
				if size, ok := get(key); !ok || size != valueSize {
					errs[p] = fmt.Errorf("%w: %s", errMissing, key)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(time.Since(start)) / float64(n), errors.Join(errs...)
}

func inSyncMap(plain map[string][]byte) lookUp {
	var m sync.Map
	for key, value := range plain {
		m.Store(key, value)
	}
	return func(key string) (int, bool) {
		v, _ := m.Load(key)
		value, ok := v.([]byte)
		return len(value), ok
	}
}

func inLockedMap(plain map[string][]byte) lookUp {
	var mu sync.RWMutex
	return func(key string) (int, bool) {
		mu.RLock()
		defer mu.RUnlock()
		value, ok := plain[key]
		return len(value), ok
	}
}

func inEtcd(ctx context.Context, client *clientv3.Client) lookUp {
	return func(key string) (int, bool) {
		resp, err := client.Get(ctx, key, clientv3.WithSerializable())
		if err != nil || len(resp.Kvs) == 0 {
			return 0, false
		}
		return len(resp.Kvs[0].Value), true
	}
}
