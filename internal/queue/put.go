package queue

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lease"
)

// Put replaces the value in the grant's entry, of a queue of one lane, while the
// grant owns, and fails with the cause of its end otherwise. After another error the
// value may have been replaced, but it will not be later than the next Put that
// succeeds. Calls must not overlap. It returns the header of the answer, as of the
// revision at which the value was put.
func (g *Grant) Put(ctx context.Context, value string) (lease.Header, error) {
	ctx, cancel := g.With(ctx)
	defer cancel()
	record := g.entry.record
	record.Value = value
	err := g.entry.swap(ctx, record)
	if errors.Is(err, errOwnGone) {
		g.deleted()
	}
	if g.Err() != nil {
		return lease.Header{}, g.Err()
	}
	if err != nil {
		return lease.Header{}, fmt.Errorf("writing to %q: %w", g.entry.key(), err)
	}
	return g.entry.written, nil
}

// swap puts record into the entry if nothing was put there since the last time: a put
// that was given up may yet arrive, and must not undo a later one. It fails with
// errOwnGone if the entry is not there.
func (e *entry) swap(ctx context.Context, record Record) error {
	content := e.q.content(record)
	for {
		found, done, err := e.trySwap(ctx, content)
		switch {
		case err != nil || done:
			return err
		case !e.is(found):
			return errOwnGone
		case string(found.Value) == content: // an earlier attempt went through
			e.modified, e.written.Revision = found.ModRevision, found.ModRevision
			return nil
		}
		e.modified = found.ModRevision
	}
}

// trySwap puts content if nothing but what was put last is there, and otherwise returns
// what is, nil if nothing.
func (e *entry) trySwap(ctx context.Context, content string) (found *mvccpb.KeyValue, done bool, err error) {
	resp, err := e.commit(ctx,
		append(e.same(), clientv3.Compare(clientv3.ModRevision(e.key()), "=", e.modified)),
		[]clientv3.Op{clientv3.OpPut(e.key(), content, clientv3.WithLease(e.lease.ID()))},
		[]clientv3.Op{clientv3.OpGet(e.key())})
	if err != nil {
		return nil, false, err
	}
	e.written = lease.HeaderOf(resp.Header)
	if resp.Succeeded {
		e.modified = resp.Header.Revision
		return nil, true, nil
	}
	return first(resp, 0), false, nil
}
