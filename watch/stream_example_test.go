package watch_test

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/watch"
)

// streamClient connects to an etcd of its own. Programs call clientv3.New.
func streamClient() (client *clientv3.Client, stop func()) {
	cluster, err := etcdtest.Start(context.Background())
	if err != nil {
		panic(err)
	}
	client, err = cluster.NewClient()
	if err != nil {
		panic(err)
	}
	return client, func() {
		_ = client.Close()
		_ = cluster.Close()
	}
}

func mustPut(client *clientv3.Client, key, value string) {
	if _, err := client.Put(context.Background(), key, value); err != nil {
		panic(err)
	}
}

// The state first, then what changes.
func ExampleStream() {
	client, stop := streamClient()
	defer stop()
	mustPut(client, "service/a", "10.0.0.1")
	mustPut(client, "service/b", "10.0.0.2")

	for batch, err := range watch.Stream(context.Background(), client, "service/", watch.WithPrefix(), watch.WithSnapshot()) {
		if err != nil {
			panic(err)
		}
		for _, ev := range batch.Events {
			fmt.Printf("%v %s %s\n", ev.Type, ev.Kv.Key, ev.Kv.Value)
		}
		if !batch.Snapshot {
			break // everything is released
		}
		fmt.Println("that is all there is")
		if _, err := client.Delete(context.Background(), "service/a"); err != nil {
			panic(err)
		}
	}
	// Output:
	// PUT service/a 10.0.0.1
	// PUT service/b 10.0.0.2
	// that is all there is
	// DELETE service/a
}

// A consumer that keeps the revision of the last batch it has dealt with goes on from
// there after a restart.
func ExampleWithRevision() {
	client, stop := streamClient()
	defer stop()
	mustPut(client, "jobs/1", "first")

	var done int64
	for batch, err := range watch.Stream(context.Background(), client, "jobs/", watch.WithPrefix(), watch.WithSnapshot()) {
		if err != nil {
			panic(err)
		}
		done = batch.Revision
		break
	}
	mustPut(client, "jobs/2", "while nobody looked")
	for batch, err := range watch.Stream(context.Background(), client, "jobs/", watch.WithPrefix(), watch.WithRevision(done+1)) {
		if err != nil {
			panic(err)
		}
		if len(batch.Events) > 0 {
			fmt.Printf("%s: %s\n", batch.Events[0].Kv.Key, batch.Events[0].Kv.Value)
			break
		}
	}
	// Output: jobs/2: while nobody looked
}

func ExampleCompactedError() {
	client, stop := streamClient()
	defer stop()
	ctx := context.Background()
	mustPut(client, "k", "1")
	last, err := client.Put(ctx, "k", "2")
	if err != nil {
		panic(err)
	}
	if _, err := client.Compact(ctx, last.Header.Revision); err != nil {
		panic(err)
	}

	for _, err := range watch.Stream(ctx, client, "k", watch.WithRevision(2)) {
		fmt.Println(errors.Is(err, watch.ErrCompacted))
		if compacted, ok := errors.AsType[*watch.CompactedError](err); ok {
			fmt.Println("lost:", compacted.Requested, "to", compacted.Compacted-1)
		}
	}
	// Output:
	// true
	// lost: 2 to 2
}
