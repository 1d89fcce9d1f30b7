package conclavetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lock"
)

// AwaitHolder waits until somebody holds the lock, and returns the first holder's entry:
// with its owner, its token, and the key that [Cluster.DeleteKey] and
// [Cluster.ExpireLease] take. It fails the test after a minute.
//
// It goes by the lock's queue; the holder itself learns of the grant a moment later. A lock
// shared with other libraries needs [lock.WithEtcdLayout].
func (c *Cluster) AwaitHolder(tb testing.TB, name string, opts ...lock.InspectOption) lock.Entry {
	tb.Helper()
	all := c.await(tb, "a holder", name, opts, func(all []lock.Entry) bool { return len(all) > 0 })
	return all[0]
}

// AwaitWaiters waits until at least n acquisitions wait for the lock, of whatever kind it
// is, and returns the entries of those who wait, in the order of the queue. It fails the
// test after a minute. An acquisition waits as soon as it has its place in the queue.
func (c *Cluster) AwaitWaiters(tb testing.TB, name string, n int, opts ...lock.InspectOption) []lock.Entry {
	tb.Helper()
	if n < 1 {
		tb.Fatalf("conclavetest: %d waiters: must be 1 or more", n)
	}
	all := c.await(tb, fmt.Sprintf("%d waiters", n), name, opts, func(all []lock.Entry) bool { return len(waiters(all)) >= n })
	return waiters(all)
}

func waiters(all []lock.Entry) []lock.Entry {
	var waiting []lock.Entry
	for _, e := range all {
		if !e.Held() {
			waiting = append(waiting, e)
		}
	}
	return waiting
}

// await inspects the lock after each change of it, until ok likes the entries.
func (c *Cluster) await(
	tb testing.TB, what, name string, opts []lock.InspectOption, ok func([]lock.Entry) bool,
) (all []lock.Entry) {
	tb.Helper()
	ctx, cancel := limited(tb, patience)
	defer cancel()
	err := c.follow(ctx, name, func() (done bool, err error) {
		entries, err := lock.Inspect(ctx, c.operator, name, opts...)
		if err != nil {
			return false, err
		}
		all = entries
		return ok(all), nil
	})
	if err != nil {
		tb.Fatalf("conclavetest: waiting for %s of lock %q: %v; it has %s", what, name, err, describe(all))
	}
	return all
}

// follow calls look now and after changes under the lock's name, until it is done.
func (c *Cluster) follow(ctx context.Context, name string, look func() (done bool, err error)) error {
	for ctx.Err() == nil {
		ctx, cancel := context.WithCancel(ctx)
		done, err := lookAtChanges(c.operator.Watch(ctx, name+"/", clientv3.WithPrefix(), clientv3.WithCreatedNotify()), look)
		cancel()
		if done || err != nil {
			return err
		}
	}
	return ctx.Err()
}

// lookAtChanges calls look for each response, the one that says that the watch exists
// included. If the watch ends without an error another is needed.
func lookAtChanges(changes clientv3.WatchChan, look func() (done bool, err error)) (done bool, err error) {
	for resp := range changes {
		if err := resp.Err(); errors.Is(err, rpctypes.ErrCompacted) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		if done, err := look(); done || err != nil {
			return done, err
		}
	}
	return false, nil
}

// describe says who is in a queue.
func describe(all []lock.Entry) string {
	if len(all) == 0 {
		return "no entries"
	}
	said := make([]string, len(all))
	for i, e := range all {
		state := "waits"
		if e.Held() {
			state = "holds it"
		}
		said[i] = fmt.Sprintf("%s %s (%s)", e.Key, state, e.Owner)
	}
	return strings.Join(said, ", ")
}
