package watch_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conclave-go/conclave/watch"
)

// A controller makes the world agree with the keys. It is told which key to look at,
// and tries again when it fails.
func ExampleReconcile() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client, hangUp := dial(ctx)
	defer hangUp()
	must(client.Put(ctx, "backends/a", `{"addr": "10.0.0.1:80"}`))
	backends := must(watch.NewCache(ctx, client, "backends/", decodeBackend))
	defer backends.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing waits for it

	attempts := 0
	err := watch.Reconcile(ctx, backends, func(ctx context.Context, key string) error {
		item, ok := backends.Get(key)
		if !ok {
			fmt.Println("remove", key)
			cancel() // enough for an example
			return nil
		}
		if attempts++; attempts == 1 {
			return errors.New("the balancer does not answer")
		}
		fmt.Println("add", key, "at", item.Value.Addr)
		_, err := client.Delete(ctx, key)
		return err
	}, watch.WithBackoff(10*time.Millisecond, time.Second))
	fmt.Println(errors.Is(err, context.Canceled))
	// Output:
	// add backends/a at 10.0.0.1:80
	// remove backends/a
	// true
}
