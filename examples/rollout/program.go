package main

import (
	"context"
	"encoding/json"
	"errors"
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
	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/watch"
)

const (
	lockName   = "rollout/lock"     // of those who write the configuration
	configKey  = "rollout/config/"  // and the name of a part
	appliedKey = "rollout/applied/" // and the name of a reader that is alive: the version it has applied
)

// rolloutMain is what main would be in a copy: a reader until SIGTERM or Ctrl-C, or a writer,
// which makes one change.
func rolloutMain(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("rollout", flag.ExitOnError)
	endpoints := fs.String("endpoints", os.Getenv("ETCDCTL_ENDPOINTS"), "etcd's client `addresses`, separated by commas")
	ttl := fs.Duration("ttl", lease.DefaultTTL, "TTL of the lease: a reader that has died is waited for as long")
	reader := fs.String("reader", "", "be a reader of this `name`")
	set := fs.String("set", "", "be a writer that makes this `change`, by part: {\"limits\": {\"rps\": 150}}")
	_ = fs.Parse(args) // it exits if it fails
	var c change
	if *reader == "" {
		if err := json.Unmarshal([]byte(*set), &c); err != nil {
			return fmt.Errorf("-set %q: %w", *set, err)
		}
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(*endpoints, ","), DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 5 * time.Second})
	if err != nil {
		return err
	}
	defer client.Close()
	start, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	session, err := lease.NewSession(start, client, lease.WithTTL(*ttl), lease.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	defer session.Close(ctx)
	if *reader != "" {
		err = read(ctx, client, session, *reader)
	} else {
		err = write(ctx, client, session, c)
	}
	if ctx.Err() != nil {
		return nil // told to end, and it has
	}
	return err
}

// read applies each version, until ctx ends.
func read(ctx context.Context, client *clientv3.Client, session *lease.Session, name string) error {
	// Before it reads anything: a writer that does not see it yet, and so does not wait for it,
	// has written what it is going to read.
	applied, err := lease.Register(ctx, session, appliedKey+name, "0")
	if err != nil {
		return err
	}
	slog.Info("registered")
	has, current := make(config), 0
	for batch, err := range watch.Stream(ctx, client, configKey, watch.WithPrefix(), watch.WithSnapshot(), watch.WithLogger(slog.Default())) {
		if err != nil {
			return err
		}
		for _, e := range batch.Events {
			if err := has.take(e); err != nil {
				return err
			}
		}
		version, err := has.version() // of whole revisions, see watch.Batch
		if err != nil {
			return fmt.Errorf("at revision %d: %w", batch.Revision, err)
		}
		if version == current {
			continue
		}
		slog.Info("applied", "version", version) // here a service would switch
		current = version
		if err := applied.Update(ctx, strconv.Itoa(version)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// write makes a change under the lock. When it returns nil, every reader that is alive has
// applied it. When it fails, readers have the version before it or the new one, all the same
// sooner or later, and the next writer sees to that.
func write(ctx context.Context, client *clientv3.Client, session *lease.Session, c change) error {
	mutex, err := lock.NewMutex(session, lockName)
	if err != nil {
		return err
	}
	for {
		err := mutex.Do(ctx, func(ctx context.Context, h *lock.Hold) error { return update(ctx, client, h, c) })
		if err == nil || errors.Is(err, errInvalid) || ctx.Err() != nil {
			return err
		}
		// The lock is lost, or a reply was. It begins anew, from what there is then: it makes no
		// difference whether that has the change already.
		slog.Warn("to be tried again", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func update(ctx context.Context, client *clientv3.Client, h *lock.Hold, c change) error {
	resp, err := client.Get(ctx, configKey, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	old := make(config)
	for _, kv := range resp.Kvs {
		if err := old.take(&clientv3.Event{Kv: kv}); err != nil {
			return err
		}
	}
	version, err := old.version()
	if err != nil {
		return err
	}
	slog.Info("holding", "token", h.Token(), "version", version)
	// A writer that died may have left this. So there are never more than two versions.
	if err := await(ctx, client, version); err != nil {
		return err
	}
	next := old.merged(c, version+1, h.Token())
	if err := next.validate(); err != nil {
		return fmt.Errorf("%w: %w", errInvalid, err)
	}
	puts, err := next.puts()
	if err != nil {
		return err
	}
	slog.Info("writing", "version", version+1)
	if _, err := h.Txn(ctx).Then(puts...).Commit(); err != nil {
		return err
	}
	slog.Info("written", "version", version+1, "config", next)
	return await(ctx, client, version+1)
}

// await waits until every reader that is alive has applied a version. Who dies is waited for
// no longer than its lease lasts. Who comes later reads the configuration later.
func await(ctx context.Context, client *clientv3.Client, version int) error {
	decode := func(_ string, value []byte) (int, error) { return strconv.Atoi(string(value)) }
	applied, err := watch.NewCache(ctx, client, appliedKey, decode)
	if err != nil {
		return err
	}
	defer applied.Close(ctx)
	for now, err := range applied.Snapshots(ctx) {
		if err != nil {
			return err
		}
		var behind []string
		for key, item := range now.All() {
			if item.Err != nil || item.Value < version {
				behind = append(behind, strings.TrimPrefix(key, appliedKey))
			}
		}
		if len(behind) == 0 {
			break
		}
		slog.Info("waiting", "version", version, "readers", behind)
	}
	return nil
}
