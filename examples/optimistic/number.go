package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lock"
)

// number is one in etcd that many add to. A key that is not there is 0.
type number struct {
	client *clientv3.Client
	key    string
	work   time.Duration // between a read and the write that follows from it
}

// swap adds one without a lock, and returns how often it tried. It takes two round trips, and
// one more for each conflict: a refused transaction returns the current value. Even a refused
// transaction costs etcd a write.
//
// An error is not a conflict: the write may have happened, so trying again might add one
// twice. To retry safely, put a unique marker in the value.
func (n *number) swap(ctx context.Context) (tries int, err error) {
	resp, err := n.client.Get(ctx, n.key)
	if err != nil {
		return 0, err
	}
	return n.swapFrom(ctx, resp.Kvs)
}

func (n *number) swapFrom(ctx context.Context, read []*mvccpb.KeyValue) (tries int, err error) {
	for tries = 1; ; tries++ {
		put, revision, err := n.next(ctx, read)
		if err != nil {
			return tries, err
		}
		// Compare revisions, not values: a number that changed and changed back has a new
		// revision (ABA).
		unchanged := clientv3.Compare(clientv3.ModRevision(n.key), "=", revision)
		resp, err := n.client.Txn(ctx).If(unchanged).Then(put).Else(clientv3.OpGet(n.key)).Commit()
		if err != nil || resp.Succeeded {
			return tries, err
		}
		read = resp.Responses[0].GetResponseRange().Kvs
	}
}

// addLocked adds one under a lock, in four round trips if nobody else has it. The transaction
// fails if the lock has been lost, so nobody's change is overwritten.
func (n *number) addLocked(ctx context.Context, m *lock.Mutex) error {
	return m.Do(ctx, func(ctx context.Context, h *lock.Hold) error {
		resp, err := n.client.Get(ctx, n.key)
		if err != nil {
			return err
		}
		put, revision, err := n.next(ctx, resp.Kvs)
		if err != nil {
			return err
		}
		unchanged := clientv3.Compare(clientv3.ModRevision(n.key), "=", revision)
		done, err := h.Txn(ctx).If(unchanged).Then(put).Commit()
		if err == nil && !done.Succeeded {
			err = fmt.Errorf("%s was changed by somebody without the lock", n.key)
		}
		return err
	})
}

// next works out the write that follows from what was read at a revision.
func (n *number) next(ctx context.Context, read []*mvccpb.KeyValue) (put clientv3.Op, revision int64, err error) {
	value := 0
	if len(read) > 0 {
		revision = read[0].ModRevision
		if value, err = strconv.Atoi(string(read[0].Value)); err != nil {
			return put, 0, fmt.Errorf("%s: %w", n.key, err)
		}
	}
	select {
	case <-time.After(n.work): // your work goes here
	case <-ctx.Done():
		return put, 0, context.Cause(ctx)
	}
	return clientv3.OpPut(n.key, strconv.Itoa(value+1)), revision, nil
}
