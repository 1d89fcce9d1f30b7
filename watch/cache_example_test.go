package watch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/watch"
)

// check ends the example when something fails.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// must is check for what returns a value as well.
func must[T any](value T, err error) T {
	check(err)
	return value
}

// dial stands in for clientv3.New: it starts the etcd that it connects to.
func dial(ctx context.Context) (client *clientv3.Client, hangUp func()) {
	cluster := must(etcdtest.Start(ctx))
	client = must(cluster.NewClient())
	return client, func() {
		check(errors.Join(client.Close(), cluster.Close()))
	}
}

// Backend is where a service runs, as it is stored in etcd.
type Backend struct {
	Addr   string `json:"addr"`
	Weight int    `json:"weight"`
}

func decodeBackend(_ string, value []byte) (b Backend, err error) {
	err = json.Unmarshal(value, &b)
	return b, err
}

// A cache has all keys of a prefix at hand. A value that does not decode leaves the
// last good one readable.
func ExampleNewCache() {
	ctx := context.Background()
	client, hangUp := dial(ctx)
	defer hangUp()
	must(client.Put(ctx, "backends/a", `{"addr": "10.0.0.1:80", "weight": 1}`))

	backends := must(watch.NewCache(ctx, client, "backends/", decodeBackend))
	defer backends.Close(ctx) //nolint:errcheck // nothing waits for it

	item, ok := backends.Get("backends/a")
	fmt.Println(ok, item.Value.Addr, item.Version)

	mistake := must(client.Put(ctx, "backends/a", `{"addr":`))
	check(backends.WaitRevision(ctx, mistake.Header.Revision))
	item, ok = backends.Get("backends/a")
	fmt.Println(ok, item.Value.Addr, item.Version, item.Err != nil)
	// Output:
	// true 10.0.0.1:80 1
	// true 10.0.0.1:80 2 true
}

// After a write, the cache can be made to show it.
func ExampleCache_WaitRevision() {
	ctx := context.Background()
	client, hangUp := dial(ctx)
	defer hangUp()
	backends := must(watch.NewCache(ctx, client, "backends/", decodeBackend))
	defer backends.Close(ctx) //nolint:errcheck // nothing waits for it

	put := must(client.Put(ctx, "backends/a", `{"addr": "10.0.0.1:80"}`))
	check(backends.WaitRevision(ctx, put.Header.Revision))
	item, ok := backends.Get("backends/a")
	fmt.Println(ok, item.Value.Addr)
	// Output:
	// true 10.0.0.1:80
}

// A snapshot is all keys at one revision and does not change.
func ExampleCache_Snapshot() {
	ctx := context.Background()
	client, hangUp := dial(ctx)
	defer hangUp()
	for _, name := range []string{"b", "a", "c"} {
		must(client.Put(ctx, "backends/"+name, `{"weight": 2}`))
	}
	backends := must(watch.NewCache(ctx, client, "backends/", decodeBackend))
	defer backends.Close(ctx) //nolint:errcheck // nothing waits for it

	snapshot := backends.Snapshot()
	gone := must(client.Delete(ctx, "backends/", clientv3.WithPrefix()))
	check(backends.WaitRevision(ctx, gone.Header.Revision))
	total := 0
	for key, item := range snapshot.All() {
		fmt.Println(key, item.Value.Weight)
		total += item.Value.Weight
	}
	fmt.Println("total", total, "now", backends.Snapshot().Len())
	// Output:
	// backends/a 2
	// backends/b 2
	// backends/c 2
	// total 6 now 0
}

// Changes replays what there is and then follows.
func ExampleCache_Changes() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client, hangUp := dial(ctx)
	defer hangUp()
	must(client.Put(ctx, "backends/a", `{"addr": "10.0.0.1:80"}`))
	backends := must(watch.NewCache(ctx, client, "backends/", decodeBackend))
	defer backends.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing waits for it

	for change, err := range backends.Changes(ctx) {
		switch {
		case err != nil:
			fmt.Println("the end:", errors.Is(err, context.Canceled))
		case change.Deleted:
			fmt.Println("gone:", change.Key)
			cancel()
		default:
			fmt.Println(change.Key, "is", change.Item.Value.Addr)
			must(client.Delete(ctx, change.Key))
		}
	}
	// Output:
	// backends/a is 10.0.0.1:80
	// gone: backends/a
	// the end: true
}
