package watches

import (
	"context"
	"runtime"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

const (
	rememberedKeys, quickRememberedKeys = 50_000, 10_000
	// plainMap is the side that memory is compared with.
	plainMap = "map"
)

// memory measures the heap that a copy of keys keeps in use.
func memory() perf.Work {
	return perf.Work{
		Name:  "watch/cache-memory",
		Title: "the memory for a key and its value of 100 bytes, both included, and what of it a plain map does not need",
		On:    perf.EtcdFast,
		Metrics: []perf.Metric{
			{Name: "memory", Unit: "B", Stats: []perf.Stat{perf.P50}},
			{Name: "above a map", Unit: "B", Stats: []perf.Stat{perf.P50}},
		},
		Rounds: 3, Quick: 1,
		Begin: beginMemory,
	}
}

// keeper makes a copy of the keys below a prefix.
type keeper func(ctx context.Context, client *clientv3.Client, prefix string) (kept any, done func() error, err error)

func beginMemory(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
	client, err := on.Client(ctx)
	if err != nil {
		return nil, nil, err
	}
	n, prefix := rememberedKeys, prefix("memory")
	if on.Quick {
		n = quickRememberedKeys
	}
	if err := fill(ctx, client, names(prefix, n)); err != nil {
		return nil, nil, err
	}
	measure := func(ctx context.Context, keep keeper) (float64, error) {
		used, err := heapOf(ctx, client, prefix, keep)
		return used / float64(n), err
	}
	ofMap, err := measure(ctx, keepMap)
	if err != nil {
		return nil, nil, err
	}
	side := func(name, lacks string, keep keeper) perf.Side {
		return perf.Side{Name: name, Lacks: lacks, Round: func(ctx context.Context) (perf.Samples, error) {
			used, err := measure(ctx, keep)
			above := used - ofMap
			if name == plainMap {
				above = 0 // what else it may seem to be is noise
			}
			return perf.Samples{"memory": {used}, "above a map": {above}}, err
		}}
	}
	return []perf.Side{
		side("conclave", "", keepCache),
		side(plainMap, "is not kept up to date, no revisions, no order", keepMap),
		side("sync.Map", "is not kept up to date, no revisions, no order", keepSyncMap),
	}, nothing, nil
}

// heapOf returns the bytes that a copy keeps in use.
func heapOf(ctx context.Context, client *clientv3.Client, prefix string, keep keeper) (float64, error) {
	before := inUse()
	kept, done, err := keep(ctx, client, prefix)
	if err != nil {
		return 0, err
	}
	used := inUse() - before
	runtime.KeepAlive(kept)
	return used, done()
}

// inUse returns the bytes on the heap, without what pools keep for two collections.
func inUse() float64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func keepCache(ctx context.Context, client *clientv3.Client, prefix string) (any, func() error, error) {
	c, err := newCache(ctx, client, prefix)
	if err != nil {
		return nil, nil, err
	}
	return c, func() error { return c.Close(ctx) }, nil
}

func keepMap(ctx context.Context, client *clientv3.Client, prefix string) (any, func() error, error) {
	m, err := newMap(ctx, client, prefix)
	return m, nothing, err
}

func keepSyncMap(ctx context.Context, client *clientv3.Client, prefix string) (any, func() error, error) {
	m, err := newMap(ctx, client, prefix)
	if err != nil {
		return nil, nil, err
	}
	var kept sync.Map
	for key, value := range m {
		kept.Store(key, value)
	}
	return &kept, nothing, nil
}
