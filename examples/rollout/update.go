package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/watch"
)

// errInvalid is that an update was refused. Nothing was written.
var errInvalid = errors.New("invalid update")

// writer makes one update.
type writer struct {
	job    job
	client *clientv3.Client
	report func(context.Context, event) error // after each step
}

// update makes it under the lock. When it returns nil, every reader that is alive has
// applied it. When it fails, readers have the version before it or the new one, all the
// same sooner or later, and the next writer sees to that.
func (w *writer) update(ctx context.Context, h *lock.Hold) error {
	old, err := w.read(ctx)
	if err != nil {
		return err
	}
	version, err := old.version()
	if err != nil {
		return err
	}
	if err := w.report(ctx, event{Kind: read, Version: version, Token: h.Token()}); err != nil {
		return err
	}
	// A writer that died may have left this. So there are never more than two versions.
	if err := w.await(ctx, version); err != nil {
		return err
	}
	next := old.merged(w.job.Change, version+1, h.Token())
	if err := next.validate(); err != nil {
		return fmt.Errorf("%w: %w", errInvalid, err)
	}
	if err := w.report(ctx, event{Kind: validated, Version: version + 1}); err != nil {
		return err
	}
	ops, err := next.puts(w.job.Prefix + configKey)
	if err != nil {
		return err
	}
	if _, err := h.Txn(ctx).Then(ops...).Commit(); err != nil {
		return err
	}
	if err := w.report(ctx, event{Kind: written, Version: version + 1, Detail: next.String()}); err != nil {
		return err
	}
	if err := w.await(ctx, version+1); err != nil {
		return err
	}
	return w.report(ctx, event{Kind: done, Version: version + 1})
}

// read reads all parts as they are at one revision.
func (w *writer) read(ctx context.Context) (config, error) {
	prefix, c := w.job.Prefix+configKey, make(config)
	got, err := w.client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	for _, kv := range got.Kvs {
		if err := c.take(&clientv3.Event{Kv: kv}, prefix); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// await waits until every reader that is alive has applied a version. Who dies is waited
// for no longer than its lease lasts. Who comes later reads the configuration later.
func (w *writer) await(ctx context.Context, version int) error {
	prefix := w.job.Prefix + appliedKey
	cache, err := watch.NewCache(ctx, w.client, prefix, func(_ string, value []byte) (int, error) {
		return strconv.Atoi(string(value))
	})
	if err != nil {
		return err
	}
	defer func() { _ = cache.Close(ctx) }() // it ends with the client at the latest
	var last []string
	look := func() (waiting bool, err error) {
		names := behind(cache.Snapshot(), prefix, version)
		if len(names) > 0 && !slices.Equal(names, last) {
			err = w.report(ctx, event{Kind: waits, Version: version, Detail: strings.Join(names, ", ")})
		}
		last = names
		return len(names) > 0, err
	}
	if waiting, err := look(); !waiting || err != nil { // without readers there would be no change
		return err
	}
	for _, err := range cache.Changes(ctx) {
		if err != nil {
			return err
		}
		if waiting, err := look(); !waiting || err != nil {
			return err
		}
	}
	return ctx.Err()
}

// behind returns who has not applied a version.
func behind(s watch.Snapshot[int], prefix string, version int) (names []string) {
	for key, item := range s.All() {
		if item.Err != nil || item.Value < version {
			names = append(names, strings.TrimPrefix(key, prefix))
		}
	}
	return names
}
