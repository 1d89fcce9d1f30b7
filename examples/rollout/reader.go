package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/watch"
)

// clusters are where there are readers.
func clusters() []string { return []string{"eu", "us", "ap"} }

// readerNames are those of all readers: two in each cluster.
func readerNames() (names []string) {
	for _, c := range clusters() {
		names = append(names, c+"/1", c+"/2")
	}
	return names
}

// reader uses the configuration. It has a client and a session of its own.
type reader struct {
	name   string
	prefix string
	ttl    time.Duration
	slow   atomic.Int64 // how long it takes to apply a version
	report func(event)
}

// run applies each version, until ctx ends.
func (r *reader) run(ctx context.Context, spec cluster.Spec) (err error) {
	client, err := spec.Dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	session, err := lease.NewSession(ctx, client, lease.WithTTL(r.ttl))
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, session.Close(ctx))
	}()
	// Before it reads anything: a writer that does not see it yet, and so does not wait
	// for it, has written what it is going to read.
	applied, err := lease.Register(ctx, session, r.prefix+appliedKey+r.name, "0")
	if err != nil {
		return err
	}
	r.report(event{Kind: joined, Worker: r.name})
	has, current := make(config), 0
	for batch, err := range watch.Stream(ctx, client, r.prefix+configKey, watch.WithPrefix(), watch.WithSnapshot()) {
		if err != nil {
			return err
		}
		for _, e := range batch.Events {
			if err := has.take(e, r.prefix+configKey); err != nil {
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
		if err := r.apply(ctx, version); err != nil {
			return err
		}
		current = version
		if err := applied.Update(ctx, strconv.Itoa(version)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// apply switches to a version.
func (r *reader) apply(ctx context.Context, version int) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(r.slow.Load())):
	}
	r.report(event{Kind: applied, Worker: r.name, Version: version})
	return nil
}
