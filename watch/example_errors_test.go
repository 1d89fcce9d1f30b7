package watch_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conclave-go/conclave/watch"
)

// A key whose value does not decode has an error, and the last good value beside it.
func ExampleDecodeError() {
	ctx := context.Background()
	client, hangUp := dial(ctx)
	defer hangUp()
	good := must(client.Put(ctx, "backends/a", `{"addr": "10.0.0.1:80"}`))
	backends := must(watch.NewCache(ctx, client, "backends/", decodeBackend))
	defer backends.Close(ctx) //nolint:errcheck // nothing waits for it

	bad := must(client.Put(ctx, "backends/a", `{"addr":`))
	check(backends.WaitRevision(ctx, bad.Header.Revision))
	item, _ := backends.Get("backends/a")
	if d, ok := errors.AsType[*watch.DecodeError](item.Err); ok {
		fmt.Println(d.Key, d.Err)
		fmt.Println(d.Revision == bad.Header.Revision, d.Good == good.Header.Revision)
	}
	fmt.Println(item.Value.Addr)
	// Output:
	// backends/a unexpected end of JSON input
	// true true
	// 10.0.0.1:80
}

// A consumer that stored a revision meets a store that has not got there: another
// cluster, or one restored from a backup. It has to begin anew.
func ExampleFutureRevisionError() {
	ctx := context.Background()
	client, hangUp := dial(ctx)
	defer hangUp()
	last := must(client.Put(ctx, "jobs/1", "first"))

	for _, err := range watch.Stream(ctx, client, "jobs/", watch.WithPrefix(), watch.WithRevision(1_000_000)) {
		if future, ok := errors.AsType[*watch.FutureRevisionError](err); ok {
			fmt.Println("stored:", future.Requested)
			fmt.Println("at the last write:", future.Current == last.Header.Revision)
		}
	}
	// Output:
	// stored: 1000000
	// at the last write: true
}

// When Reconcile ends, it says which keys are not as they should be. A function that
// panics has failed like any other.
func ExampleKeyError() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client, hangUp := dial(ctx)
	defer hangUp()
	must(client.Put(ctx, "backends/a", `{"addr": "10.0.0.1:80"}`))
	backends := must(watch.NewCache(ctx, client, "backends/", decodeBackend))
	defer backends.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing waits for it

	err := watch.Reconcile(ctx, backends, func(context.Context, string) error {
		cancel() // enough for an example
		panic("no such balancer")
	})
	if failed, ok := errors.AsType[*watch.KeyError](err); ok {
		fmt.Println(failed.Key, "has failed", failed.Failures, "time")
	}
	if p, ok := errors.AsType[*watch.PanicError](err); ok {
		fmt.Println("panic:", p.Value)
	}
	// Output:
	// backends/a has failed 1 time
	// panic: no such balancer
}

// A program that shows how far its streams are keeps their progress.
func ExampleProgress_Lag() {
	ctx := context.Background()
	client, hangUp := dial(ctx)
	defer hangUp()
	var progress *watch.Progress
	backends := must(watch.NewCache(ctx, client, "backends/", decodeBackend,
		watch.WithObserver(watch.Observer{Opened: func(p *watch.Progress) { progress = p }})))
	put := must(client.Put(ctx, "backends/a", `{"addr": "10.0.0.1:80"}`))
	check(backends.WaitRevision(ctx, put.Header.Revision))
	for progress.Lag() > 0 { // which is counted a moment after those who wait were woken
		<-time.After(time.Millisecond)
	}

	fmt.Println("of a cache:", progress.Cache(), progress.Key())
	fmt.Println("has it:", progress.Handled() >= put.Header.Revision, progress.Received() >= put.Header.Revision)
	fmt.Println("behind:", progress.Lag())
	fmt.Println("silent for long:", progress.Silence() > watch.DefaultStall)
	check(backends.Close(ctx))
	// Output:
	// of a cache: true backends/
	// has it: true true
	// behind: 0
	// silent for long: false
}
