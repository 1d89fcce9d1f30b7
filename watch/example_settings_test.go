package watch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/conclave-go/conclave/watch"
)

// What an operator may want to know is logged, such as a value that nobody can read.
func ExampleWithLogger() {
	ctx := context.Background()
	client, hangUp := dial(ctx)
	defer hangUp()
	must(client.Put(ctx, "backends/a", `{"addr":`))

	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "revision" || a.Key == "error" { // differ from run to run
				return slog.Attr{}
			}
			return a
		},
	}))
	backends := must(watch.NewCache(ctx, client, "backends/", decodeBackend, watch.WithLogger(logger)))
	fmt.Println(backends.Close(ctx))
	// Output:
	// level=WARN msg="watch: value does not decode" key=backends/a
	// <nil>
}

// Large values want a larger buffer, and a server that is far away more patience. Both
// options go with caches as well.
func ExampleWithBuffer() {
	ctx := context.Background()
	client, hangUp := dial(ctx)
	defer hangUp()
	must(client.Put(ctx, "images/a", "..."))

	for batch, err := range watch.Stream(ctx, client, "images/", watch.WithPrefix(), watch.WithSnapshot(),
		watch.WithBuffer(64<<20), watch.WithStall(30*time.Second)) {
		fmt.Println(len(batch.Events), err)
		break
	}
	for _, err := range watch.Stream(ctx, client, "images/", watch.WithStall(10*time.Millisecond)) {
		fmt.Println(err)
	}
	// Output:
	// 1 <nil>
	// watch: stall limit 10ms: must be from 1s to 24h0m0s
}

// A cache that stopped says why, and keeps what it had.
func ExampleCache_Err() {
	ctx := context.Background()
	client, hangUp := dial(ctx)
	defer hangUp()
	must(client.Put(ctx, "backends/a", `{"addr": "10.0.0.1:80"}`))
	backends := must(watch.NewCache(ctx, client, "backends/", decodeBackend))
	fmt.Println("follows:", backends.Err() == nil)

	check(backends.Close(ctx))
	fmt.Println("closed:", errors.Is(backends.Err(), watch.ErrClosed))
	item, ok := backends.Get("backends/a")
	fmt.Println(item.Value.Addr, ok)
	// Output:
	// follows: true
	// closed: true
	// 10.0.0.1:80 true
}

// A snapshot can be asked for a part, and knows the revision whose state it is.
func ExampleSnapshot_Prefix() {
	ctx := context.Background()
	client, hangUp := dial(ctx)
	defer hangUp()
	must(client.Put(ctx, "backends/eu/a", `{"addr": "10.0.0.1:80"}`))
	must(client.Put(ctx, "backends/eu/b", `{"addr": "10.0.0.2:80"}`))
	last := must(client.Put(ctx, "backends/us/a", `{"addr": "10.1.0.1:80"}`))
	backends := must(watch.NewCache(ctx, client, "backends/", decodeBackend))
	defer backends.Close(ctx) //nolint:errcheck // nothing waits for it

	snapshot := backends.Snapshot()
	for key, item := range snapshot.Prefix("backends/eu/") {
		fmt.Println(key, item.Value.Addr)
	}
	_, ok := snapshot.Get("backends/us/a")
	fmt.Println(ok, snapshot.Revision() >= last.Header.Revision)
	// Output:
	// backends/eu/a 10.0.0.1:80
	// backends/eu/b 10.0.0.2:80
	// true true
}
