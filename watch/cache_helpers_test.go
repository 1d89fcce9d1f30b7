package watch_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/watch"
)

// finished is a context that is done already.
func finished(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	cancel()
	return ctx
}

// newTextCache returns a cache of strings, which is closed at the test's end.
func newTextCache(tb testing.TB, client *clientv3.Client, prefix string, opts ...watch.CacheOption) *watch.Cache[string] {
	tb.Helper()
	c, err := watch.NewCache(guarded(tb), client, prefix, text, opts...)
	require.NoError(tb, err)
	closeAfter(tb, c)
	return c
}

func closeAfter[T any](tb testing.TB, c *watch.Cache[T]) {
	tb.Helper()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), guard)
		defer cancel()
		require.NoError(tb, c.Close(ctx))
	})
}

// try repeats a call that fails for a reason that goes away: on a crowded machine a
// cluster may lose its leader at any time.
func try(tb testing.TB, call func(ctx context.Context) error) {
	tb.Helper()
	require.NoError(tb, attempt.Do(guarded(tb), guard, call))
}

// put puts, once, and returns the revision.
func put(tb testing.TB, client *clientv3.Client, key, value string, opts ...clientv3.OpOption) (rev int64) {
	tb.Helper()
	rev, err := etcdtest.Put(guarded(tb), client, key, value, opts...)
	require.NoError(tb, err)
	return rev
}

// remove deletes and returns the revision.
func remove(tb testing.TB, client *clientv3.Client, key string, opts ...clientv3.OpOption) (rev int64) {
	tb.Helper()
	try(tb, func(ctx context.Context) error {
		resp, err := client.Delete(ctx, key, opts...)
		if err == nil {
			rev = resp.Header.Revision
		}
		return err
	})
	return rev
}

// fill puts n keys under prefix, many to a transaction.
func fill(tb testing.TB, client *clientv3.Client, prefix string, n int, value string) {
	tb.Helper()
	ops := make([]clientv3.Op, 0, 128)
	for i := range n {
		ops = append(ops, clientv3.OpPut(fmt.Sprintf("%s%06d", prefix, i), value))
		if len(ops) == cap(ops) || i == n-1 {
			try(tb, func(ctx context.Context) error {
				_, err := client.Txn(ctx).Then(ops...).Commit()
				return err
			})
			ops = ops[:0]
		}
	}
}

// stored is the state of the store under prefix at a revision, as stateOf shows it.
func stored(tb testing.TB, client *clientv3.Client, prefix string, rev int64) map[string]string {
	tb.Helper()
	var resp *clientv3.GetResponse
	try(tb, func(ctx context.Context) (err error) {
		resp, err = client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(rev))
		return err
	})
	all := make(map[string]string, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		all[string(kv.Key)] = fmt.Sprintf("%s@%d", kv.Value, kv.ModRevision)
	}
	return all
}

// agrees requires that the cache, once it is at the store's revision, has its state.
func agrees(tb testing.TB, c *watch.Cache[string], client *clientv3.Client, prefix string) {
	tb.Helper()
	var rev int64
	try(tb, func(ctx context.Context) error {
		resp, err := client.Get(ctx, "any", clientv3.WithCountOnly())
		if err == nil {
			rev = resp.Header.Revision
		}
		return err
	})
	require.NoError(tb, c.WaitRevision(guarded(tb), rev))
	s := c.Snapshot()
	sameState(tb, stored(tb, client, prefix, s.Revision()), stateOf(s))
}

// sameState requires that the two states are equal, and else shows a few of the keys
// in which they differ.
func sameState(tb testing.TB, want, got map[string]string) {
	tb.Helper()
	var diff []string
	for key := range maps.Keys(got) {
		if _, ok := want[key]; !ok {
			diff = append(diff, fmt.Sprintf("%s: want nothing, got %q", key, got[key]))
		}
	}
	for key, value := range want {
		if value != got[key] {
			diff = append(diff, fmt.Sprintf("%s: want %q, got %q", key, value, got[key]))
		}
	}
	require.Empty(tb, diff[:min(len(diff), 10)])
}

// logBook keeps what is logged.
type logBook struct {
	mu   sync.Mutex
	text []byte
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	return len(p), nil
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}

func (b *logBook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }
