package queue

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Put replaces the value in the grant's entry, of a queue of one lane, while the grant owns, and fails with
// the cause of its end otherwise. After another error the value may have been
// replaced, but it will not be later than the next Put that succeeds. Calls must not
// overlap.
func (g *Grant) Put(ctx context.Context, value string) error {
	ctx, cancel := g.With(ctx)
	defer cancel()
	record := g.entry.record
	record.Value = value
	if err := g.swap(ctx, record.encode()); err != nil {
		return fmt.Errorf("writing to %q: %w", g.entry.key(), err)
	}
	return g.Err()
}

// swap puts content under the grant's key if nothing was put there since the last
// time: a put that was given up may yet arrive, and must not undo a later one.
func (g *Grant) swap(ctx context.Context, content string) error {
	for {
		kv, err := g.trySwap(ctx, content)
		switch {
		case g.Err() != nil:
			return g.Err()
		case err != nil:
			return err
		case kv == nil:
			return nil
		case kv.CreateRevision != g.entry.created:
			g.deleted()
			return g.Err()
		}
		g.entry.modified = kv.ModRevision
		if string(kv.Value) == content { // an earlier attempt went through
			return nil
		}
	}
}

// trySwap returns what is there if it is not what was put last.
func (g *Grant) trySwap(ctx context.Context, content string) (found *mvccpb.KeyValue, err error) {
	e := g.entry
	err = e.do(ctx, func(ctx context.Context) error {
		resp, err := e.q.Session.Client().Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(e.key()), "=", e.created), clientv3.Compare(clientv3.ModRevision(e.key()), "=", e.modified)).
			Then(clientv3.OpPut(e.key(), content, clientv3.WithLease(e.lease.ID()))).
			Else(clientv3.OpGet(e.key())).
			Commit()
		switch {
		case err != nil:
			return err
		case resp.Succeeded:
			e.modified = resp.Header.Revision
			return nil
		}
		found = &mvccpb.KeyValue{}
		if kv := first(resp, 0); kv != nil {
			found = kv
		}
		return nil
	})
	return found, err
}
