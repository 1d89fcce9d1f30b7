package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/lease"
)

var (
	errNotOfLane = errors.New("the key is not one of this queue")
	errInUse     = errors.New("the key is in use in this process")
)

// Resume takes over an entry, of a queue of one lane, that is attached to the session's
// lease already: one that an earlier process has left, or another library. It waits for
// the entry's turn as Acquire does, and from then on the entry is as if Acquire had put
// it. It fails with Errors.Lost if there is no such entry of that create revision.
func (q *Queue) Resume(ctx context.Context, key string, created int64) (*Grant, error) {
	if !strings.HasPrefix(key, q.Lanes[0].prefix) {
		return nil, fmt.Errorf("%w: %q", errNotOfLane, key)
	}
	c, ctx := q.begin(ctx)
	g, err := q.resume(ctx, c, key, created)
	c.Failed(err)
	return g, err
}

func (q *Queue) resume(ctx context.Context, c *Call, key string, created int64) (*Grant, error) {
	e, err := q.find(ctx, key, created)
	if err != nil {
		return nil, err
	}
	g, gone, err := e.queued(ctx, nil, c)
	switch {
	case !gone:
		return g, err
	case e.lease.Err() != nil:
		return nil, fmt.Errorf("%w: %w", q.Errors.Lost, e.lease.Err())
	}
	return nil, fmt.Errorf("%w: %w", q.Errors.Lost, errDeleted)
}

// find reads an entry that exists and takes it over. Whom it waits for is not known yet.
func (q *Queue) find(ctx context.Context, key string, created int64) (*entry, error) {
	l, err := inside.Of(q.Session).Roomy(ctx)
	if err != nil {
		return nil, err
	}
	e := &entry{q: q, lease: l, keys: inside.Keys(l), crowd: crowdOf(q.Session), life: &life{state: waiting}, created: created}
	slot, free := e.keys.Take(key)
	if !free {
		return nil, fmt.Errorf("%w: %q", errInUse, key)
	}
	e.one[0] = leg{lane: q.Lanes[0], slot: slot, key: key}
	e.legs = e.one[:]
	err = e.load(ctx)
	if err == nil {
		err = e.markable(ctx)
	}
	if err != nil {
		e.becomeGone()
		return nil, err
	}
	return e, nil
}

// load reads what the entry says.
func (e *entry) load(ctx context.Context) error {
	resp, err := request(ctx, e, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return e.q.Session.Client().Get(ctx, e.key())
	})
	var kv *mvccpb.KeyValue
	if err == nil && len(resp.Kvs) > 0 {
		kv = resp.Kvs[0]
	}
	switch {
	case err != nil:
		return fmt.Errorf("reading %q: %w", e.key(), err)
	case !e.is(kv):
		return fmt.Errorf("%w: %w", e.q.Errors.Lost, errDeleted)
	case clientv3.LeaseID(kv.Lease) != e.lease.ID():
		return fmt.Errorf("%w: %q is attached to lease %x, not to this session's %x", e.q.Errors.Lost, e.key(), kv.Lease, int64(e.lease.ID()))
	}
	seen := resp.Header.Revision
	e.header = lease.HeaderOf(resp.Header)
	e.header.Revision = e.created
	e.modified, e.value = kv.ModRevision, string(kv.Value)
	e.record = Parse(kv).Record
	if e.q.Raw {
		e.record = Record{Value: e.value}
	}
	e.legs[0].before = position{created: unknownRevision, seen: seen}
	return nil
}
