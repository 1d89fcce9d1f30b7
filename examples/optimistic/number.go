package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lock"
)

// number is one in etcd. A key that is not there is 0.
type number struct {
	client *clientv3.Client
	key    string
	work   time.Duration // between a read and the write that follows from it
}

// seen is a number as it was at some time. The revision of its last change stands for
// the value: the same number twice, with another between, has two revisions.
type seen struct {
	value, revision int64 // 0 and 0 if the key is not there
}

func (n *number) read(ctx context.Context) (seen, error) {
	resp, err := n.client.Get(ctx, n.key)
	if err != nil {
		return seen{}, err
	}
	return parseSeen(resp.Kvs)
}

func parseSeen(kvs []*mvccpb.KeyValue) (seen, error) {
	if len(kvs) == 0 {
		return seen{}, nil
	}
	value, err := strconv.ParseInt(string(kvs[0].Value), 10, 64)
	if err != nil {
		return seen{}, fmt.Errorf("%s: %w", kvs[0].Key, err)
	}
	return seen{value: value, revision: kvs[0].ModRevision}, nil
}

// put is the write that follows from what was seen, after some work.
func (n *number) put(ctx context.Context, at seen) (clientv3.Op, error) {
	if n.work > 0 {
		select {
		case <-time.After(n.work):
		case <-ctx.Done():
			return clientv3.Op{}, context.Cause(ctx)
		}
	}
	return clientv3.OpPut(n.key, strconv.FormatInt(at.value+1, 10)), nil
}

// addSwapping adds one without a lock, and says how often it tried. It takes two round
// trips, and for each conflict one more: a refused transaction brings the number that
// refused it. Each is a write for etcd, also when it is refused.
//
// An error is not a conflict: the write may have happened, so trying again might add
// one twice. Who has to try again needs a mark of its own in the value.
func (n *number) addSwapping(ctx context.Context) (tries int, err error) {
	at, err := n.read(ctx)
	if err != nil {
		return 0, err
	}
	return n.swapFrom(ctx, at)
}

func (n *number) swapFrom(ctx context.Context, at seen) (tries int, err error) {
	for tries = 1; ; tries++ {
		put, err := n.put(ctx, at)
		if err != nil {
			return tries, err
		}
		resp, err := n.client.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(n.key), "=", at.revision)).
			Then(put).
			Else(clientv3.OpGet(n.key)).
			Commit()
		if err != nil || resp.Succeeded {
			return tries, err
		}
		if at, err = parseSeen(resp.Responses[0].GetResponseRange().Kvs); err != nil {
			return tries, err
		}
	}
}

// addLocked adds one under a lock, in four round trips if nobody else has it. The
// transaction is refused should the lock be lost meanwhile, so that even then no change
// is undone.
func (n *number) addLocked(ctx context.Context, m *lock.Mutex) error {
	return m.Do(ctx, func(ctx context.Context, h *lock.Hold) error {
		at, err := n.read(ctx)
		if err != nil {
			return err
		}
		put, err := n.put(ctx, at)
		if err != nil {
			return err
		}
		_, err = h.Txn(ctx).Then(put).Commit()
		return err
	})
}

// addBlindly has several add one each, as bad luck would have it: all read before the
// first of them writes.
func (n *number) addBlindly(ctx context.Context, atOnce int) error {
	var read, written sync.WaitGroup
	read.Add(atOnce)
	errs := make(chan error, atOnce)
	for range atOnce {
		written.Go(func() {
			at, err := n.read(ctx)
			read.Done()
			read.Wait()
			if err == nil {
				_, err = n.client.Put(ctx, n.key, strconv.FormatInt(at.value+1, 10))
			}
			errs <- err
		})
	}
	written.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
