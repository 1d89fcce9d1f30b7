package watch_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/watch"
)

// guard is how long a test waits for one thing that must happen; only a failure takes that
// long. A member may take three minutes until it serves.
const guard = 4 * time.Minute

// guarded is the test's context with that limit, for one call.
func guarded(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), guard)
	tb.Cleanup(cancel)
	return ctx
}

// tap takes batches from a stream one at a time.
type tap struct {
	t    testing.TB
	pull func() (watch.Batch, error, bool)
	last int64 // the revision of the last batch
}

// newTap opens a stream, which is closed at the test's end at the latest.
func newTap(tb testing.TB, client *clientv3.Client, key string, opts ...watch.Option) *tap {
	tb.Helper()
	return tapInto(tb, watch.Stream(tb.Context(), client, key, opts...))
}

func tapInto(tb testing.TB, stream iter.Seq2[watch.Batch, error]) *tap {
	tb.Helper()
	pull, stop := iter.Pull2(stream)
	tb.Cleanup(stop)
	return &tap{t: tb, pull: pull}
}

// next returns the next batch.
func (p *tap) next() watch.Batch {
	p.t.Helper()
	b, err, ok := p.pull()
	require.True(p.t, ok, "the stream is over")
	require.NoError(p.t, err)
	require.Greater(p.t, b.Revision, p.last, "revisions grow")
	p.last = b.Revision
	return b
}

// events returns the next n events, which must not begin with another batch than the
// last of them ends with.
func (p *tap) events(n int) []string {
	p.t.Helper()
	var all []string
	for len(all) < n {
		b := p.next()
		require.False(p.t, b.Snapshot || b.Resync)
		all = append(all, show(b)...)
	}
	require.Len(p.t, all, n)
	return all
}

// upTo returns the events up to a revision.
func (p *tap) upTo(revision int64) []string {
	p.t.Helper()
	var all []string
	for {
		b := p.next()
		all = append(all, show(b)...)
		if b.Revision >= revision {
			return all
		}
	}
}

// fails requires that the stream ends with an error, and after it.
func (p *tap) fails() error {
	p.t.Helper()
	for {
		b, err, ok := p.pull()
		require.True(p.t, ok, "the stream is over without an error")
		if err != nil {
			require.Zero(p.t, b)
			_, _, ok = p.pull()
			require.False(p.t, ok, "there is something after the error")
			return err
		}
	}
}

// show renders events briefly: "+key=value@revision" and "-key@revision".
func show(b watch.Batch) []string {
	all := make([]string, len(b.Events))
	for i, ev := range b.Events {
		if ev.Type == clientv3.EventTypeDelete {
			all[i] = fmt.Sprintf("-%s@%d", ev.Kv.Key, ev.Kv.ModRevision)
		} else {
			all[i] = fmt.Sprintf("+%s=%s@%d", ev.Kv.Key, ev.Kv.Value, ev.Kv.ModRevision)
		}
	}
	return all
}

// set is what show says of a put.
func set(key, value string, revision int64) string {
	return fmt.Sprintf("+%s=%s@%d", key, value, revision)
}

// gone is what show says of a deletion.
func gone(key string, revision int64) string { return fmt.Sprintf("-%s@%d", key, revision) }

// commit runs a transaction and returns its revision.
func commit(tb testing.TB, client *clientv3.Client, ops ...clientv3.Op) int64 {
	tb.Helper()
	resp, err := client.Txn(guarded(tb)).Then(ops...).Commit()
	require.NoError(tb, err)
	return resp.Header.Revision
}

// compact compacts the store at its present revision, which it returns, everywhere.
func compact(tb testing.TB, client *clientv3.Client) int64 {
	tb.Helper()
	resp, err := client.Get(guarded(tb), "revision", clientv3.WithCountOnly())
	require.NoError(tb, err)
	_, err = client.Compact(guarded(tb), resp.Header.Revision, clientv3.WithCompactPhysical())
	require.NoError(tb, err)
	return resp.Header.Revision
}

// watches returns the requests for watches that a client has sent.
func watches(rec *etcdtest.Recorder) (all []*pb.WatchCreateRequest) {
	for _, c := range rec.Calls() {
		if req, ok := c.Request.(*pb.WatchRequest); ok && c.IsWatchCreate() {
			all = append(all, req.GetCreateRequest())
		}
	}
	return all
}

// revisionOf returns the store's revision.
func revisionOf(tb testing.TB, client *clientv3.Client) int64 {
	tb.Helper()
	resp, err := client.Get(guarded(tb), "revision", clientv3.WithCountOnly())
	require.NoError(tb, err)
	return resp.Header.Revision
}

// inside puts a client into a namespace.
func inside(client *clientv3.Client, prefix string) {
	client.KV = namespace.NewKV(client.KV, prefix)
	client.Watcher = namespace.NewWatcher(client.Watcher, prefix)
}

func eventually(tb testing.TB, ok func() bool, what string) {
	tb.Helper()
	require.Eventually(tb, ok, guard, 5*time.Millisecond, what)
}
