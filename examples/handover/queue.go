package main

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/process"
)

// watchQueue reports what comes into and goes out of the queue of the lock called
// name, whichever library keeps it there, until ctx ends. It returns once the watch
// stands.
func watchQueue(ctx context.Context, client *clientv3.Client, name string, emit func(event)) error {
	events := client.Watch(clientv3.WithRequireLeader(ctx), name+"/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	select {
	case first := <-events:
		if err := first.Err(); err != nil {
			return fmt.Errorf("watching the queue: %w", err)
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	go func() { // ends with ctx or the client
		for resp := range events {
			for _, ev := range resp.Events {
				emit(queueEvent(ev))
			}
		}
	}()
	return nil
}

func queueEvent(ev *clientv3.Event) event {
	e := event{At: process.Now(), Key: string(ev.Kv.Key), Kind: dequeued}
	if ev.Type == clientv3.EventTypePut {
		e.Kind, e.Revision = enqueued, ev.Kv.CreateRevision
	}
	return e
}
