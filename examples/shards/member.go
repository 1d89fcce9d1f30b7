package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/shard"
)

const (
	// leaveTime is how long a member that leaves may take to hand its shards over: less than
	// its supervisor waits between SIGTERM and SIGKILL.
	leaveTime = 20 * time.Second
	// every is how often there is something to do for a shard.
	every = 250 * time.Millisecond
)

// serve makes this process a member of a group until ctx ends, as it does with SIGTERM.
// Then it hands its shards over and returns.
func serve(ctx context.Context, client *clientv3.Client, group, name string, ttl time.Duration, own shard.OwnFunc, opts ...shard.Option) error {
	session, err := lease.NewSession(ctx, client, lease.WithTTL(ttl))
	if err != nil {
		return err
	}
	member, err := shard.Join(ctx, session, group, name, own, opts...)
	if err != nil {
		return errors.Join(err, session.Close(ctx))
	}
	<-ctx.Done()
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	return errors.Join(member.Close(within), session.Close(within))
}

// counting returns what a member does with a shard: it counts on from what the owner before
// has left in etcd. Each write takes effect only while the shard is owned, so no count is
// lost, whoever is paused or cut off.
func counting(client *clientv3.Client, group string) shard.OwnFunc {
	return func(ctx context.Context, o *shard.Ownership) error {
		key := fmt.Sprintf("%s/count/%d", group, o.Shard())
		count, err := load(ctx, client, key)
		if err != nil {
			return err
		}
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				count++
				if _, err := o.Txn(ctx).Then(clientv3.OpPut(key, strconv.Itoa(count))).Commit(); err != nil {
					return err // it may have come through: whoever is next loads what there is
				}
			case <-o.Leaving():
				return nil
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// load reads what the owner before has left.
func load(ctx context.Context, client *clientv3.Client, key string) (int, error) {
	resp, err := client.Get(ctx, key)
	if err != nil || len(resp.Kvs) == 0 {
		return 0, err
	}
	return strconv.Atoi(string(resp.Kvs[0].Value))
}
