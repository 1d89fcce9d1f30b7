package watch_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/watch"
)

func TestStreamDeliversWhatHappensFromNowOn(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, prefix := c.Client(t), c.Prefix(t)
	before := put(t, client, prefix+"a", "before")
	p := newTap(t, client, prefix, watch.WithPrefix())
	first := p.next()
	require.Empty(t, first.Events)
	require.GreaterOrEqual(t, first.Revision, before)

	r1 := put(t, client, prefix+"a", "1")
	put(t, client, "elsewhere", "2")
	r3 := commit(t, client, clientv3.OpPut(prefix+"b", "3"), clientv3.OpPut(prefix+"c", "3"), clientv3.OpDelete(prefix+"a"))
	r4 := put(t, client, prefix+"a", "4")
	require.Equal(t, []string{
		set(prefix+"a", "1", r1), set(prefix+"b", "3", r3), set(prefix+"c", "3", r3), gone(prefix+"a", r3), set(prefix+"a", "4", r4),
	}, p.events(5))
}

func TestStreamOfOneKeyLeavesOthersOut(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, prefix := c.Client(t), c.Prefix(t)
	p := newTap(t, client, prefix+"a")
	p.next()
	put(t, client, prefix+"ab", "1")
	rev := put(t, client, prefix+"a", "2")
	require.Equal(t, []string{set(prefix+"a", "2", rev)}, p.events(1))
}

func TestStreamStartsAtARevision(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, prefix := c.Client(t), c.Prefix(t)
	put(t, client, prefix+"a", "1")
	r2 := put(t, client, prefix+"a", "2")
	r3 := put(t, client, prefix+"a", "3")
	require.Equal(t, []string{set(prefix+"a", "2", r2), set(prefix+"a", "3", r3)},
		newTap(t, client, prefix, watch.WithPrefix(), watch.WithRevision(r2)).events(2))

	// One above the store's revision is where a consumer goes on that has seen all.
	p := newTap(t, client, prefix, watch.WithPrefix(), watch.WithRevision(r3+1))
	r4 := put(t, client, prefix+"a", "4")
	require.Equal(t, set(prefix+"a", "4", r4), p.upTo(r4)[0])
}

func TestStreamOfAKeyspaceIncludesTheFirstKeyOfAll(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	client := c.Client(t)
	rev := put(t, client, "\x00", "lowest")
	p := newTap(t, client, "", watch.WithKeyspace(), watch.WithSnapshot())
	require.Equal(t, []string{set("\x00", "lowest", rev)}, show(p.next()))
	rev = put(t, client, "\xff\xff", "high")
	require.Equal(t, []string{set("\xff\xff", "high", rev)}, p.events(1))
}

func TestSnapshotIsTheStateAndWhatFollowsIsWhatChanges(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, prefix := c.Client(t), c.Prefix(t)
	b1 := put(t, client, prefix+"b", "1")
	a1 := put(t, client, prefix+"a", "1")
	put(t, client, prefix+"gone", "1")
	last := remove(t, client, prefix+"gone")
	p := newTap(t, client, prefix, watch.WithPrefix(), watch.WithSnapshot())
	snapshot := p.next()
	require.True(t, snapshot.Snapshot)
	require.False(t, snapshot.Resync)
	require.GreaterOrEqual(t, snapshot.Revision, last)
	require.Equal(t, []string{set(prefix+"a", "1", a1), set(prefix+"b", "1", b1)}, show(snapshot))

	a2 := put(t, client, prefix+"a", "2")
	d := remove(t, client, prefix+"b")
	require.Equal(t, []string{set(prefix+"a", "2", a2), gone(prefix+"b", d)}, p.events(2))
}

func TestSnapshotOfNothingIsEmpty(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, prefix := c.Client(t), c.Prefix(t)
	p := newTap(t, client, prefix+"none", watch.WithSnapshot())
	b := p.next()
	require.True(t, b.Snapshot)
	require.Empty(t, b.Events)
	require.Positive(t, b.Revision)
	rev := put(t, client, prefix+"none", "1")
	require.Equal(t, []string{set(prefix+"none", "1", rev)}, p.events(1))
}

// The watch is older than the read, so what happens during the read shows in both.
func TestWhatHappensWhileTheSnapshotIsReadIsDeliveredOnce(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	var rec etcdtest.Recorder
	other, client, prefix := c.Client(t), c.Client(t, etcdtest.WithRecorder(&rec)), c.Prefix(t)
	fill(t, other, prefix, 2500, "v") // three pages
	writes := make(map[string]int64)
	n := 0
	rec.Hook("Range", func(_ context.Context, _ any, invoke func() error) error {
		n++
		key := fmt.Sprintf("%sbefore%d", prefix, n)
		writes[key] = put(t, other, key, "v")
		err := invoke()
		key = fmt.Sprintf("%safter%d", prefix, n)
		writes[key] = put(t, other, key, "v")
		return err
	})
	p := newTap(t, client, prefix, watch.WithPrefix(), watch.WithSnapshot())
	snapshot := p.next()
	require.Greater(t, n, 1, "the snapshot was read in pages")
	require.Len(t, snapshot.Events, 2501)
	require.Equal(t, writes[prefix+"before1"], snapshot.Revision)
	var want []string
	for i := 1; i <= n; i++ {
		if i > 1 {
			key := fmt.Sprintf("%sbefore%d", prefix, i)
			want = append(want, set(key, "v", writes[key]))
		}
		key := fmt.Sprintf("%safter%d", prefix, i)
		want = append(want, set(key, "v", writes[key]))
	}
	require.Equal(t, want, p.events(len(want)))
}

func TestExpiredLeasesDeleteTheirKeysInTheStream(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		grant, err := client.Grant(t.Context(), 60)
		require.NoError(t, err)
		commit(t, client, clientv3.OpPut("k/a", "1", clientv3.WithLease(grant.ID)), clientv3.OpPut("k/b", "1", clientv3.WithLease(grant.ID)))
		p := newTap(t, client, "k/", watch.WithPrefix(), watch.WithSnapshot())
		require.Len(t, p.next().Events, 2)
		vtime.Advance(2 * time.Minute)
		b := p.next()
		require.Equal(t, []string{gone("k/a", b.Revision), gone("k/b", b.Revision)}, show(b), "a lease ends in one revision, and so in one batch")
	})
}

func TestStreamsOfAClientHaveAGRPCStreamEach(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	var rec etcdtest.Recorder
	client, prefix := c.Client(t, etcdtest.WithRecorder(&rec)), c.Prefix(t)
	taps := make([]*tap, 20)
	for i := range taps {
		taps[i] = newTap(t, client, prefix, watch.WithPrefix(), watch.WithSnapshot(), watch.WithStall(time.Hour)) // one opening each
		taps[i].next()
	}
	rev := put(t, client, prefix+"a", "1")
	for _, p := range taps {
		require.Equal(t, []string{set(prefix+"a", "1", rev)}, p.events(1))
	}
	require.Equal(t, len(taps), rec.Count("WatchStream"))
}

func TestEachIterationIsAStreamOfItsOwn(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, prefix := c.Client(t), c.Prefix(t)
	rev := put(t, client, prefix+"a", "1")
	stream := watch.Stream(guarded(t), client, prefix, watch.WithPrefix(), watch.WithSnapshot())
	for range 2 {
		p := tapInto(t, stream)
		require.Equal(t, []string{set(prefix+"a", "1", rev)}, show(p.next()))
	}
}

func TestStreamWorksThroughANamespace(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	raw, prefix := c.Client(t), c.Prefix(t)
	client := c.Client(t)
	inside(client, prefix)
	outside := prefix[:len(prefix)-1] + "0" // the first key after the namespace
	put(t, raw, outside, "outside")
	a := put(t, raw, prefix+"a", "1")
	keyspace := newTap(t, client, "", watch.WithKeyspace(), watch.WithSnapshot())
	require.Equal(t, []string{set("a", "1", a)}, show(keyspace.next()))
	ofPrefix := newTap(t, client, "b", watch.WithPrefix(), watch.WithSnapshot())
	require.Empty(t, ofPrefix.next().Events)

	put(t, raw, outside, "again")
	b := put(t, client, "b1", "1")
	require.Equal(t, []string{set("b1", "1", b)}, keyspace.events(1))
	require.Equal(t, []string{set("b1", "1", b)}, ofPrefix.events(1))
	require.Equal(t, []string{set(prefix+"b1", "1", b)}, newTap(t, raw, prefix+"b", watch.WithPrefix(), watch.WithRevision(b)).events(1))
}

func TestEndOfContextIsTheLastItem(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, prefix := c.Client(t), c.Prefix(t)
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	p := tapInto(t, watch.Stream(ctx, client, prefix, watch.WithPrefix()))
	p.next()
	cancel(reason)
	err := p.fails()
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, reason)
	require.ErrorContains(t, err, "watch: ")

	err = tapInto(t, watch.Stream(ctx, client, prefix, watch.WithPrefix())).fails()
	require.ErrorIs(t, err, context.Canceled, "ctx was done before")
}

func TestClosedClientEndsTheStream(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	prefix := c.Prefix(t)
	for _, opts := range [][]watch.Option{{}, {watch.WithSnapshot()}} {
		client, err := c.NewClient()
		require.NoError(t, err)
		p := newTap(t, client, prefix, append(opts, watch.WithPrefix())...)
		p.next()
		require.NoError(t, client.Close())
		err = p.fails()
		require.NotErrorIs(t, err, context.DeadlineExceeded, "it ended by itself")
		require.ErrorContains(t, err, "the etcd client was closed")
	}
}
