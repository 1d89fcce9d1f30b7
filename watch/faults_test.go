package watch_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/watch"
)

func TestStreamGoesOnAfterAReset(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	other, prefix := c.Client(t), c.Prefix(t)
	client, net := c.ProxiedClient(t, etcdtest.WithFastReconnect())
	p := newTap(t, client, prefix, watch.WithPrefix())
	p.next()
	for range 10 {
		r1 := put(t, other, prefix+"a", "1")
		net.Reset()
		r2 := commit(t, other, clientv3.OpPut(prefix+"a", "2"), clientv3.OpPut(prefix+"b", "2"))
		require.Equal(t, []string{set(prefix+"a", "1", r1), set(prefix+"a", "2", r2), set(prefix+"b", "2", r2)}, p.upTo(r2))
	}
}

func TestStreamGoesOnWhileMembersRestart(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	other, prefix := c.Client(t, etcdtest.WithFastReconnect()), c.Prefix(t)
	p := newTap(t, c.Client(t, etcdtest.WithFastReconnect()), prefix, watch.WithPrefix())
	p.next()
	for i := range 3 {
		require.NoError(t, c.Kill(i))
		_, err := c.WaitLeader(guarded(t))
		require.NoError(t, err)
		r1 := put(t, other, prefix+"a", "1")
		require.Equal(t, []string{set(prefix+"a", "1", r1)}, p.upTo(r1))
		require.NoError(t, c.Restart(guarded(t), i))
		r2 := put(t, other, prefix+"a", "2")
		require.Equal(t, []string{set(prefix+"a", "2", r2)}, p.upTo(r2))
	}
}

// The member that serves the watch is cut off from the others and has no leader, which
// RequireLeader makes it say.
func TestStreamLeavesAMemberWithoutLeader(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	prefix := c.Prefix(t)
	leader, err := c.WaitLeader(guarded(t))
	require.NoError(t, err)
	var rec etcdtest.Recorder
	client := c.Client(t, etcdtest.WithFastReconnect(), etcdtest.WithRecorder(&rec), etcdtest.ViaMember(leader))
	p := newTap(t, client, prefix, watch.WithPrefix(), watch.WithStall(time.Hour))
	p.next()
	require.NoError(t, c.Isolate(leader))
	next, err := c.WaitLeader(guarded(t), leader)
	require.NoError(t, err)
	r1 := put(t, c.Client(t, etcdtest.ViaMember(next)), prefix+"a", "1")
	client.SetEndpoints(c.Endpoints()...)
	require.Equal(t, []string{set(prefix+"a", "1", r1)}, p.upTo(r1))
	c.HealLinks()
}

// A stall limit of an hour would not help: the member is left because it says so. Here it
// says nothing.
func TestStreamLeavesAMemberThatHasVanished(t *testing.T) {
	t.Parallel()
	for _, members := range []int{3, 5}[:suite.Long(1, 2)] {
		c := etcdtest.New(t, etcdtest.WithMembers(members))
		other, prefix := c.Client(t), c.Prefix(t)
		for _, opts := range [][]watch.Option{nil, {watch.WithSnapshot()}} {
			client, net := c.ProxiedClient(t, etcdtest.WithFastReconnect())
			p := newTap(t, client, prefix, append(opts, watch.WithPrefix(), watch.WithStall(watch.MinStall))...)
			p.next()
			for i := range members { // wherever the stream is, it comes through
				net.CutMember(i)
				rev := put(t, other, prefix+"a", "1")
				require.Equal(t, []string{set(prefix+"a", "1", rev)}, p.upTo(rev))
				net.Heal()
			}
		}
	}
}

// With two endpoints, calls that go by turns must not make a search go back and forth
// between a read on the one that works and a watch on the other.
func TestStreamFindsTheOneOfTwoMembersThatWorks(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	other, prefix := c.Client(t), c.Prefix(t)
	net := c.Net(t)
	client := c.Client(t, etcdtest.ViaProxies(net.Member(0), net.Member(1)), etcdtest.WithFastReconnect())
	p := newTap(t, client, prefix, watch.WithPrefix(), watch.WithStall(watch.MinStall))
	p.next()
	for i := range 4 {
		net.CutMember(i % 2)
		rev := put(t, other, prefix+"a", "1")
		require.Equal(t, []string{set(prefix+"a", "1", rev)}, p.upTo(rev))
		net.Heal()
	}
}

// large is a value of which a handful exceeds what a server sends at once.
var large = strings.Repeat("x", 400<<10)

// withSmallMessages makes a client refuse messages larger than fragments are.
var withSmallMessages = etcdtest.WithConfig(func(cfg *clientv3.Config) {
	cfg.MaxCallSendMsgSize, cfg.MaxCallRecvMsgSize = 1<<20, 2<<20
})

func TestSnapshotIsReadInPagesThatTheClientTakes(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	other, prefix := c.Client(t), c.Prefix(t)
	for i := range 20 {
		put(t, other, fmt.Sprintf("%s%02d", prefix, i), large)
	}
	p := newTap(t, c.Client(t, withSmallMessages), prefix, watch.WithPrefix(), watch.WithSnapshot())
	require.Len(t, p.next().Events, 20)
}

// fragments counts the fragments that a client receives and breaks the stream after one
// of them if told to.
type fragments struct {
	seen, breakAt atomic.Int64
}

func (f *fragments) hook(_ string, dir etcdtest.Direction, msg any) (drop bool, err error) {
	resp, ok := msg.(*pb.WatchResponse)
	if dir != etcdtest.Recv || !ok || !resp.Fragment {
		return false, nil
	}
	if f.seen.Add(1) == f.breakAt.Load() {
		return false, status.Error(codes.Unavailable, "broken between two fragments")
	}
	return false, nil
}

func TestFragmentedRevisionsArriveWhole(t *testing.T) {
	t.Parallel()
	for _, at := range []int64{0, 1, 2, 3} {
		c := etcdtest.New(t)
		var rec etcdtest.Recorder
		var f fragments
		f.breakAt.Store(at)
		rec.HookStream(f.hook)
		other, prefix := c.Client(t), c.Prefix(t)
		client := c.Client(t, etcdtest.WithRecorder(&rec), etcdtest.WithFastReconnect(), withSmallMessages)
		var want [][]string
		var last int64
		for range 4 {
			rev := commit(t, other, clientv3.OpPut(prefix+"a", large), clientv3.OpPut(prefix+"b", large), clientv3.OpPut(prefix+"c", large))
			want = append(want, []string{set(prefix+"a", large, rev), set(prefix+"b", large, rev), set(prefix+"c", large, rev)})
			last = rev
		}
		p := newTap(t, client, prefix, watch.WithPrefix(), watch.WithRevision(last-3))
		var got [][]string
		for len(got) < len(want) {
			b := p.next()
			events := show(b)
			require.Zero(t, len(events)%3, "revisions are whole")
			for len(events) > 0 {
				got = append(got, events[:3])
				events = events[3:]
			}
		}
		require.True(t, equal(want, got), "every revision, each once and in order")
		require.Positive(t, f.seen.Load(), "there were fragments")
	}
}

func equal(a, b [][]string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if strings.Join(a[i], ",") != strings.Join(b[i], ",") {
			return false
		}
	}
	return true
}

// compactBehind changes keys while a client is cut off, and compacts.
func compactBehind(t *testing.T, other *clientv3.Client, net *etcdtest.Net, change func()) {
	t.Helper()
	net.Refuse()
	change()
	put(t, other, "filler", "")
	compact(t, other)
	net.Heal()
}

func TestCompactionIsBridgedByTheDifference(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	other, prefix := c.Client(t), c.Prefix(t)
	client, net := c.ProxiedClient(t, etcdtest.WithFastReconnect())
	var book logBook
	p := newTap(t, client, prefix, watch.WithPrefix(), watch.WithSnapshot(), watch.WithLogger(book.logger()))
	fill(t, other, prefix+"kept/", 10, "v")
	for _, key := range []string{"changed", "deleted", "recreated"} {
		put(t, other, prefix+key, "old")
	}
	p.upTo(revisionOf(t, other))
	var changed, recreated, created int64
	compactBehind(t, other, net, func() {
		put(t, other, prefix+"changed", "between")
		changed = put(t, other, prefix+"changed", "new")
		remove(t, other, prefix+"deleted")
		remove(t, other, prefix+"recreated")
		recreated = put(t, other, prefix+"recreated", "new")
		put(t, other, prefix+"passing", "v")
		remove(t, other, prefix+"passing")
		created = put(t, other, prefix+"created", "new")
	})
	b := p.next()
	for !b.Resync {
		require.Empty(t, b.Events)
		b = p.next()
	}
	require.False(t, b.Snapshot)
	require.Greater(t, b.Revision, created)
	require.Equal(t, []string{
		set(prefix+"changed", "new", changed), set(prefix+"recreated", "new", recreated), set(prefix+"created", "new", created),
		gone(prefix+"deleted", b.Revision),
	}, show(b))
	require.Contains(t, book.String(), "level=WARN")

	// What has been bridged is known the next time.
	r := put(t, other, prefix+"created", "again")
	require.Equal(t, []string{set(prefix+"created", "again", r)}, p.upTo(r))
	compactBehind(t, other, net, func() {
		remove(t, other, prefix+"created")
	})
	for b = p.next(); !b.Resync; b = p.next() {
		require.Empty(t, b.Events)
	}
	require.Equal(t, []string{gone(prefix+"created", b.Revision)}, show(b))
}

func TestCompactionWithoutSnapshotEndsTheStream(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	other, prefix := c.Client(t), c.Prefix(t)
	client, net := c.ProxiedClient(t, etcdtest.WithFastReconnect())
	p := newTap(t, client, prefix, watch.WithPrefix())
	p.next()
	last := put(t, other, prefix+"a", "1")
	require.Equal(t, []string{set(prefix+"a", "1", last)}, p.events(1))
	compactBehind(t, other, net, func() { put(t, other, prefix+"a", "2") })
	err := p.fails()
	var compacted *watch.CompactedError
	require.ErrorAs(t, err, &compacted)
	require.Equal(t, watch.CompactedError{Requested: last + 1, Compacted: last + 2}, *compacted)
}

func TestCompactionWithinANamespaceIsBridged(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	other, prefix := c.Client(t), c.Prefix(t)
	client, net := c.ProxiedClient(t, etcdtest.WithFastReconnect())
	inside(client, prefix)
	p := newTap(t, client, "", watch.WithKeyspace(), watch.WithSnapshot())
	put(t, other, prefix+"old", "v")
	p.upTo(revisionOf(t, other))
	var created int64
	compactBehind(t, other, net, func() {
		remove(t, other, prefix+"old")
		created = put(t, other, prefix+"new", "v")
	})
	b := p.next()
	for !b.Resync {
		b = p.next()
	}
	require.Equal(t, []string{set("new", "v", created), gone("old", b.Revision)}, show(b))
}

func TestReadThatCompactionOvertakesIsStartedAgain(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	var rec etcdtest.Recorder
	other, client := c.Client(t), c.Client(t, etcdtest.WithRecorder(&rec))
	fill(t, other, "k", 2500, "v")
	pages := 0
	rec.Hook("Range", func(_ context.Context, _ any, invoke func() error) error {
		if pages++; pages == 2 || pages == 4 {
			put(t, other, "k000000", "new")
			remove(t, other, "k002400")
			put(t, other, "k002400", "again")
			compact(t, other)
		}
		return invoke()
	})
	p := newTap(t, client, "k", watch.WithPrefix(), watch.WithSnapshot())
	b := p.next()
	require.True(t, b.Snapshot)
	require.Len(t, b.Events, 2500)
	require.Greater(t, pages, 4)
	resp, err := other.Get(guarded(t), "k", clientv3.WithPrefix(), clientv3.WithRev(b.Revision))
	require.NoError(t, err)
	for i, kv := range resp.Kvs {
		require.Equal(t, kv.ModRevision, b.Events[i].Kv.ModRevision)
	}
	rev := put(t, other, "k1", "v")
	require.Equal(t, []string{set("k1", "v", rev)}, p.upTo(rev))
}

func TestLostRepliesOfTheSnapshotAreReadAgain(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	var rec etcdtest.Recorder
	client, prefix := c.Client(t, etcdtest.WithRecorder(&rec)), c.Prefix(t)
	fill(t, client, prefix, 2500, "v")
	dropped := rec.DropReplies("Range", 3)
	p := newTap(t, client, prefix, watch.WithPrefix(), watch.WithSnapshot())
	require.Len(t, p.next().Events, 2500)
	<-dropped
}

// As after a restore from a backup: the addresses lead to a store that is behind.
func TestStoreThatHasGoneBackEndsTheStream(t *testing.T) {
	t.Parallel()
	for _, opts := range [][]watch.Option{nil, {watch.WithSnapshot()}} {
		p, restored := goneBack(t, opts...)
		var future *watch.FutureRevisionError
		require.ErrorAs(t, p.fails(), &future)
		require.Equal(t, watch.FutureRevisionError{Requested: restored.last + 1, Current: restored.current}, *future)
	}
}

// restored is a store that has lost what was done last.
type restored struct {
	cluster       *etcdtest.Cluster
	client        *clientv3.Client
	last, current int64 // its revision before and after
}

// goneBack follows a key whose store is then restored from nothing, under the same ID.
func goneBack(t *testing.T, opts ...watch.Option) (*tap, restored) {
	t.Helper()
	c := etcdtest.New(t, etcdtest.WithControl())
	client := c.Client(t, etcdtest.WithFastReconnect())
	p := newTap(t, client, "k", append(opts, watch.WithStall(watch.MinStall))...)
	for range 20 {
		put(t, client, "k", "v")
	}
	last := put(t, client, "k", "v")
	p.upTo(last)
	data := filepath.Join(c.Etcd(0).Config().Dir, "member")
	require.NoError(t, c.Kill(0))
	require.NoError(t, os.RemoveAll(data))
	require.NoError(t, c.Restart(guarded(t), 0))
	return p, restored{cluster: c, client: client, last: last, current: revisionOf(t, c.Client(t))}
}

// History is compacted, or a change is too large, and the store is restored before the next
// watch: there is no position to compare then, and the state would be an older one.
func TestAStoreThatIsSetBackWhileAStreamReadsTheStateIsNoticed(t *testing.T) {
	t.Parallel()
	client := etcdtest.New(t, etcdtest.WithControl()).Client(t)
	large := status.Error(codes.ResourceExhausted, "grpc: received message larger than max (2 vs. 1)")
	for _, why := range []error{&watch.CompactedError{Requested: 1001, Compacted: 1010}, large} {
		var future *watch.FutureRevisionError
		require.ErrorAs(t, watch.AfterGap(guarded(t), client, "k", 1000, why), &future)
		require.Equal(t, watch.FutureRevisionError{Requested: 1001, Current: revisionOf(t, client)}, *future)
	}
}

// Another cluster behind the same addresses, whose revisions may be higher.
func TestAnotherClusterEndsTheStream(t *testing.T) {
	t.Parallel()
	for _, opts := range [][]watch.Option{nil, {watch.WithSnapshot()}} {
		for _, writes := range []int{0, 40} {
			before, after := etcdtest.New(t, etcdtest.WithControl()), etcdtest.New(t, etcdtest.WithControl())
			client := before.Client(t, etcdtest.WithFastReconnect())
			p := newTap(t, client, "k", append(opts, watch.WithStall(watch.MinStall))...)
			for range 20 {
				put(t, client, "k", "v")
			}
			p.upTo(put(t, client, "k", "v"))
			for range writes {
				put(t, after.Client(t), "k", "other")
			}
			client.SetEndpoints(after.Endpoints()...)
			require.NoError(t, before.Kill(0))
			err := p.fails()
			require.ErrorIs(t, err, watch.ErrCluster)
			require.NotErrorIs(t, err, watch.ErrFutureRevision)
		}
	}
}
