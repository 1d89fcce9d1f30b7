package main

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/watch"
)

// write makes a change under the lock. When it returns nil, every live reader has applied it.
// When it fails, readers have either the old or the new version; the next writer waits until
// they agree.
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
		// The lock or a reply was lost. Start over from the current state; applying the change twice
		// is harmless.
		slog.Warn("to be tried again", "error", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
}

func update(ctx context.Context, client *clientv3.Client, h *lock.Hold, c change) error {
	old := make(config)
	version, err := old.load(ctx, client)
	if err != nil {
		return err
	}
	slog.Info("holding", "token", h.Token(), "version", version)
	// Finish a dead writer's rollout first, so that at most two versions are in use.
	if err := await(ctx, client, version); err != nil {
		return err
	}
	next := old.merged(c, version+1, h.Token())
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

// await waits until every live reader has applied a version. It waits for a dead reader only
// until its lease expires; a new reader reads the new configuration anyway.
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
