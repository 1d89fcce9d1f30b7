package watches

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/watch"
)

// manyKeys is from how many keys on a work is left out of a quick run.
const manyKeys = 50_000

var errIncomplete = errors.New("not all keys were read")

// load measures how long it takes to copy keys that are there.
func load(keys int) perf.Work {
	w := perf.Work{
		Name:    fmt.Sprintf("watch/cache-load-%dk", keys/1000),
		Title:   fmt.Sprintf("the load of %d keys with values of 100 bytes", keys),
		On:      perf.EtcdFast,
		Metrics: []perf.Metric{{Name: "load", Unit: "ms", Stats: []perf.Stat{perf.P50}}},
		Rounds:  12, Quick: 3,
		Begin: func(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
			return beginLoad(ctx, on, keys)
		},
	}
	if keys >= manyKeys {
		w.Rounds, w.Quick = 4, 0
	}
	return w
}

// reader copies the keys below a prefix, as far as it does, and says how many there were.
type reader func(ctx context.Context, client *clientv3.Client, prefix string) (n int, done func() error, err error)

func beginLoad(ctx context.Context, on *perf.Env, keys int) ([]perf.Side, func() error, error) {
	client, err := on.Client(ctx)
	if err != nil {
		return nil, nil, err
	}
	prefix := prefix("load")
	if err := fill(ctx, client, names(prefix, keys)); err != nil {
		return nil, nil, err
	}
	var sides []perf.Side
	for _, r := range []struct {
		name, lacks string
		read        reader
	}{
		{"conclave", "", loadCache},
		{"raw", "one answer with all keys, which are counted", readOnce},
		{"raw in pages of 1,000", "keys are counted", readPages(1_000)},
		{"raw in pages of 10,000", "keys are counted", readPages(10_000)},
		{"raw into a map", "is not kept up to date, has no order", loadMap},
	} {
		sides = append(sides, perf.Side{Name: r.name, Lacks: r.lacks, Round: func(ctx context.Context) (perf.Samples, error) {
			took, err := timed(ctx, client, prefix, keys, r.read)
			return perf.Samples{"load": {millis(took)}}, err
		}})
	}
	return sides, nothing, nil
}

// timed returns how long it takes to read so many keys. No side clears up after another.
func timed(ctx context.Context, client *clientv3.Client, prefix string, keys int, read reader) (time.Duration, error) {
	runtime.GC()
	start := time.Now()
	n, done, err := read(ctx, client, prefix)
	took := time.Since(start)
	if err != nil {
		return 0, err
	}
	if n != keys {
		return 0, errors.Join(fmt.Errorf("%w: %d of %d", errIncomplete, n, keys), done())
	}
	return took, done()
}

// newCache loads a cache of values as they are.
func newCache(ctx context.Context, client *clientv3.Client, prefix string) (*watch.Cache[[]byte], error) {
	return watch.NewCache(ctx, client, prefix, func(_ string, value []byte) ([]byte, error) { return bytes.Clone(value), nil })
}

func loadCache(ctx context.Context, client *clientv3.Client, prefix string) (int, func() error, error) {
	c, err := newCache(ctx, client, prefix)
	if err != nil {
		return 0, nil, err
	}
	return c.Snapshot().Len(), func() error { return c.Close(ctx) }, nil
}

func readOnce(ctx context.Context, client *clientv3.Client, prefix string) (int, func() error, error) {
	resp, err := client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return 0, nil, err
	}
	return len(resp.Kvs), nothing, nil
}

// readPages reads as many keys at a time as it is told, all at one revision.
func readPages(limit int64) reader {
	return func(ctx context.Context, client *clientv3.Client, prefix string) (n int, done func() error, err error) {
		err = pages(ctx, client, prefix, limit, func(page *clientv3.GetResponse) { n += len(page.Kvs) })
		return n, nothing, err
	}
}

// loadMap reads in the larger pages, since they are the faster ones.
func loadMap(ctx context.Context, client *clientv3.Client, prefix string) (int, func() error, error) {
	m, err := newMap(ctx, client, prefix)
	return len(m), nothing, err
}

// newMap reads into a map, whose values are copies, since each would else keep its whole
// page in memory.
func newMap(ctx context.Context, client *clientv3.Client, prefix string) (map[string][]byte, error) {
	m := make(map[string][]byte)
	err := pages(ctx, client, prefix, 10_000, func(page *clientv3.GetResponse) {
		for _, kv := range page.Kvs {
			m[string(kv.Key)] = bytes.Clone(kv.Value)
		}
	})
	return m, err
}

func pages(ctx context.Context, client *clientv3.Client, prefix string, limit int64, each func(*clientv3.GetResponse)) error {
	end, revision := clientv3.GetPrefixRangeEnd(prefix), int64(0)
	for from := prefix; ; {
		page, err := client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(limit), clientv3.WithRev(revision))
		if err != nil {
			return err
		}
		if each(page); !page.More {
			return nil
		}
		from, revision = string(page.Kvs[len(page.Kvs)-1].Key)+"\x00", page.Header.Revision
	}
}
