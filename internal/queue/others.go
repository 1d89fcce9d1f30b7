package queue

import (
	"context"
	"errors"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
)

// AwaitOther returns nil once another entry is in the queue behind the grant's, and
// ctx's error when that ends first. It costs one watch and one read. While its stream
// is dead without a sign, it learns nothing.
func (g *Grant) AwaitOther(ctx context.Context) error {
	ctx, done := g.entry.bind(ctx)
	defer done()
	for pause := firstWatchPause; ; pause = min(2*pause, maxWatchPause) {
		err := g.entry.awaitOther(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !attempt.Pause(ctx, pause) {
			return attempt.Ended(ctx, err)
		}
	}
}

// awaitOther returns nil once another entry is behind this one, or why the watch has
// ended.
func (e *entry) awaitOther(ctx context.Context) error {
	watchCtx, generation := e.keys.WatchContext()
	watchCtx, cancel := context.WithCancel(watchCtx)
	defer cancel()
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	client, prefix := e.q.Session.Client(), e.legs[0].lane.prefix
	for resp := range client.Watch(watchCtx, prefix, clientv3.WithPrefix(), clientv3.WithFilterDelete(), clientv3.WithCreatedNotify()) {
		if err := resp.Err(); err != nil {
			e.keys.Abandon(generation)
			return err
		}
		if resp.Created {
			if found, err := e.others(ctx, resp.Header.Revision); found || err != nil {
				return err
			}
		}
		for _, ev := range resp.Events {
			if ev.IsCreate() && ev.Kv.CreateRevision > e.created {
				return nil
			}
		}
	}
	return errors.Join(errWatchEnded, ctx.Err())
}

// others reports whether there was a later entry at a revision not older than rev.
func (e *entry) others(ctx context.Context, rev int64) (bool, error) {
	resp, err := e.read(ctx, rev, func(how ...clientv3.OpOption) []clientv3.Op {
		later := append(clientv3.WithLastCreate(), clientv3.WithPrefix(), clientv3.WithMinCreateRev(e.created+1))
		return []clientv3.Op{clientv3.OpGet(e.legs[0].lane.prefix, append(later, how...)...)}
	})
	if err != nil {
		return false, err
	}
	return first(resp, 0) != nil, nil
}
