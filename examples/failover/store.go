package main

import (
	"context"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/lock"
)

// watchStore reports what comes into and goes out of the queue, and what leaders
// write, in the order in which etcd did it, until ctx ends. It returns once the watch
// stands. Programs use [election.Observe] and [election.Candidates]; this is to check
// them.
func (c *crew) watchStore(ctx context.Context) error {
	events := c.client.Watch(clientv3.WithRequireLeader(ctx), c.prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	select {
	case first := <-events:
		if err := first.Err(); err != nil {
			return fmt.Errorf("watching the queue: %w", err)
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.watching.Go(func() {
		for resp := range events {
			if err := resp.Err(); err != nil && ctx.Err() == nil {
				c.fail(fmt.Errorf("watching the queue: %w", err))
			}
			for _, ev := range resp.Events {
				c.Add(c.storeEvent(ev))
			}
		}
	})
	return nil
}

func (c *crew) storeEvent(ev *clientv3.Event) event {
	e := event{At: process.Now(), Key: string(ev.Kv.Key), Kind: dequeued}
	var err error
	switch {
	case e.Key == c.job.Resource:
		e.Kind = written
		e.Token, err = lock.ParseToken(string(ev.Kv.Value))
	case ev.Type == clientv3.EventTypePut:
		e.Kind = enqueued
		e.Token, err = lock.ParseToken(strconv.FormatInt(ev.Kv.CreateRevision, 10))
	}
	if err != nil {
		e.Kind, e.Detail = failed, err.Error()
	}
	return e
}

// observe reports what [election.Observe] yields, until ctx ends.
func (c *crew) observe(ctx context.Context) {
	for l, err := range election.Observe(ctx, c.client, c.job.Name) {
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.fail(err)
			return
		}
		c.Add(event{At: process.Now(), Kind: observed, Worker: l.Owner, Token: l.Token})
	}
}

// fail ends the run.
func (c *crew) fail(err error) {
	c.Add(event{At: process.Now(), Kind: failed, Detail: err.Error()})
}
