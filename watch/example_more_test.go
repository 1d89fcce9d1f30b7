package watch_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conclave-go/conclave/watch"
)

// A consumer that only wants the latest of each key may be slow without missing it.
func ExampleWithConflation() {
	ctx := context.Background()
	client, hangUp := dial(ctx)
	defer hangUp()
	must(client.Put(ctx, "config/limit", "1"))

	for batch, err := range watch.Stream(ctx, client, "config/", watch.WithPrefix(), watch.WithSnapshot(), watch.WithConflation()) {
		check(err)
		for _, ev := range batch.Events {
			fmt.Printf("%s = %s\n", ev.Kv.Key, ev.Kv.Value)
			if string(ev.Kv.Value) == "4" {
				return
			}
		}
		if batch.Snapshot {
			must(client.Put(ctx, "config/limit", "4"))
		}
	}
	// Output:
	// config/limit = 1
	// config/limit = 4
}

// Freshness tells which state a cache has, for those who decide by it.
func ExampleCache_Freshness() {
	ctx := context.Background()
	client, hangUp := dial(ctx)
	defer hangUp()
	put := must(client.Put(ctx, "backends/a", `{"addr": "10.0.0.1:80"}`))
	backends := must(watch.NewCache(ctx, client, "backends/", decodeBackend))
	defer backends.Close(ctx) //nolint:errcheck // nothing waits for it

	revision, contact := backends.Freshness()
	fmt.Println(revision >= put.Header.Revision, !contact.IsZero())
	// Output: true true
}

// A whole keyspace is followed with an option of its own, so that nobody does so by
// mistake.
func ExampleWithKeyspace() {
	ctx := context.Background()
	client, hangUp := dial(ctx)
	defer hangUp()
	must(client.Put(ctx, "a", "1"))
	must(client.Put(ctx, "b", "2"))

	for batch, err := range watch.Stream(ctx, client, "", watch.WithKeyspace(), watch.WithSnapshot()) {
		fmt.Println(len(batch.Events), err)
		break
	}
	// Output: 2 <nil>
}

// An observer is told where streams stand, for metrics.
func ExampleWithObserver() {
	ctx := context.Background()
	client, hangUp := dial(ctx)
	defer hangUp()
	must(client.Put(ctx, "backends/a", "1"))
	observer := watch.Observer{
		Opened: func(p *watch.Progress) { fmt.Println("opened", p.Key()) },
		Closed: func(p *watch.Progress, err error) { fmt.Println("closed, handled:", p.Handled() > 0, err) },
	}

	for batch, err := range watch.Stream(ctx, client, "backends/", watch.WithPrefix(), watch.WithSnapshot(), watch.WithObserver(observer)) {
		check(err)
		fmt.Println(len(batch.Events), "key")
		if batch.Snapshot {
			must(client.Put(ctx, "backends/a", "2"))
			continue
		}
		break
	}
	// Output:
	// opened backends/
	// 1 key
	// 1 key
	// closed, handled: true <nil>
}

// Reconcile can run keys again from time to time, several at once.
func ExampleWithWorkers() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client, hangUp := dial(ctx)
	defer hangUp()
	must(client.Put(ctx, "backends/a", `{"addr": "10.0.0.1:80"}`))
	backends := must(watch.NewCache(ctx, client, "backends/", decodeBackend))
	defer backends.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing waits for it

	runs := 0 // a key is never run twice at a time
	err := watch.Reconcile(ctx, backends, func(context.Context, string) error {
		if runs++; runs == 3 {
			cancel() // enough for an example
		}
		return nil
	}, watch.WithWorkers(4), watch.WithResync(10*time.Millisecond))
	fmt.Println(runs, errors.Is(err, context.Canceled))
	// Output: 3 true
}
