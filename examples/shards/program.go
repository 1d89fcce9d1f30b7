package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/shard"
)

// drainTimeout is how long a member may take to hand its shards over after SIGTERM: less
// than its supervisor waits before SIGKILL.
const drainTimeout = 8 * time.Second

// shardsMain would be main in your copy: a member of the group until SIGTERM or Ctrl-C.
func shardsMain(ctx context.Context, args []string) error {
	host, _ := os.Hostname()
	fs := flag.NewFlagSet("shards", flag.ExitOnError)
	endpoints := fs.String("endpoints", os.Getenv("ETCDCTL_ENDPOINTS"), "etcd's client `addresses`, separated by commas")
	ttl := fs.Duration("ttl", lease.DefaultTTL, "TTL of the lease: after a crash the shards have no owner for this long")
	name := fs.String("name", host, "`name` of this member")
	address := fs.String("address", "", "`address` at which callers of the shards find it")
	shards := fs.Int("shards", shard.DefaultShards, "`number` of shards, the same for all members")
	_ = fs.Parse(args) // it exits if it fails
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: strings.Split(*endpoints, ","), DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 5 * time.Second,
	})
	if err != nil {
		return err
	}
	defer client.Close()
	start, cancel := context.WithTimeout(ctx, 10*time.Second+*ttl) // if this one has crashed, its name is free after a TTL
	defer cancel()
	session, err := lease.NewSession(start, client, lease.WithTTL(*ttl), lease.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	defer session.Close(ctx)
	member, err := shard.Join(start, session, "shards", *name, counting(client), shard.WithShards(*shards), shard.WithValue(*address))
	if err != nil {
		return err
	}
	<-ctx.Done()
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	return member.Close(within) // when the others have its shards
}

// counting returns what a member does with a shard that it owns: it continues from the count
// that the previous owner left in etcd. A write takes effect only while the shard is owned, so no
// count is lost, whoever is killed, paused or cut off.
func counting(client *clientv3.Client) shard.OwnFunc {
	return func(ctx context.Context, o *shard.Ownership) error {
		slog.Info("owns", "shard", o.Shard(), "token", o.Token())
		defer func() { slog.Info("stopped", "shard", o.Shard(), "token", o.Token(), "until", o.Deadline()) }()
		key := fmt.Sprintf("count/%d", o.Shard())
		count, err := load(ctx, client, key)
		if err != nil {
			return err
		}
		for tick := time.Tick(250 * time.Millisecond); ; {
			select {
			case <-tick:
				count++
				if _, err := o.Txn(ctx).Then(clientv3.OpPut(key, strconv.Itoa(count))).Commit(); err != nil {
					return err // it may have gone through: the next owner loads what etcd has
				}
			case <-o.Leaving(): // the next owner waits
				return nil
			case <-ctx.Done(): // the shard is lost
				return nil
			}
		}
	}
}

// load reads the count that the previous owner left.
func load(ctx context.Context, client *clientv3.Client, key string) (int, error) {
	resp, err := client.Get(ctx, key)
	if err != nil || len(resp.Kvs) == 0 {
		return 0, err
	}
	return strconv.Atoi(string(resp.Kvs[0].Value))
}
