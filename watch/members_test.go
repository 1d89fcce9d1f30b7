package watch_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/watch"
)

// Of several endpoints one vanishes: all caches of a client come back by way of the
// others, also if calls take turns in step.
func TestCachesComeBackWhereOneOfTheirMembersHasVanished(t *testing.T) {
	t.Parallel()
	const caches = 6
	for _, endpoints := range []int{2, 3} {
		c := etcdtest.New(t, etcdtest.WithMembers(3))
		other, prefix, net := c.Client(t), c.Prefix(t), c.Net(t)
		proxies := etcdtest.ViaProxies(net.Member(0), net.Member(1), net.Member(2))
		if endpoints == 2 {
			proxies = etcdtest.ViaProxies(net.Member(0), net.Member(1))
		}
		client := c.Client(t, proxies, etcdtest.WithFastReconnect())
		all := make([]*watch.Cache[string], caches)
		for i := range all {
			all[i] = newTextCache(t, client, fmt.Sprint(prefix, i, "/"), watch.WithStall(watch.MinStall))
		}
		for vanished := range endpoints {
			net.CutMember(vanished)
			for i, cache := range all {
				rev := put(t, other, fmt.Sprint(prefix, i, "/k"), fmt.Sprint(vanished))
				require.NoError(t, cache.WaitRevision(guarded(t), rev))
			}
			net.Heal()
		}
	}
}

// memberOf returns the member that a message about a watch comes from, and whether it
// says that the watch was created.
func memberOf(msg any) (id uint64, created bool) {
	if resp, ok := msg.(*pb.WatchResponse); ok {
		return resp.Header.GetMemberId(), resp.Created
	}
	return 0, false
}

// A member that goes on creating watches, and sends no event for them, is left for another
// one, and is not gone back to.
func TestWatchDoesNotGoBackToTheMemberThatHasJustFailed(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	other, prefix := c.Client(t), c.Prefix(t)
	var rec etcdtest.Recorder
	var mu sync.Mutex
	var mute uint64 // the first member to create a watch
	rec.HookStream(func(_ string, dir etcdtest.Direction, msg any) (drop bool, err error) {
		id, created := memberOf(msg)
		if dir != etcdtest.Recv || id == 0 {
			return false, nil
		}
		mu.Lock()
		defer mu.Unlock()
		if mute == 0 {
			mute = id
		}
		return id == mute && !created, nil
	})
	client := c.Client(t, etcdtest.WithRecorder(&rec))
	for range suite.Long(1, 2) {
		mu.Lock()
		mute = 0
		mu.Unlock()
		var left atomic.Int64
		p := newTap(t, client, prefix+"a", watch.WithObserver(watch.Observer{
			Reopened: func(_ *watch.Progress, why watch.Reason) {
				if why == watch.ReasonSilent || why == watch.ReasonStalled {
					left.Add(1)
				}
			},
		}))
		p.next()
		rev := put(t, other, prefix+"a", "1")
		require.Equal(t, []string{set(prefix+"a", "1", rev)}, p.upTo(rev))
		require.LessOrEqual(t, left.Load(), int64(1), "from the mute member to another at once")
	}
}

// Learners and members that have no leader, or are starting, refuse; the others do not.
func TestMemberThatRefusesForItselfIsLeftForAnother(t *testing.T) {
	t.Parallel()
	for _, refusal := range []error{
		rpctypes.ErrGRPCNotSupportedForLearner, rpctypes.ErrGRPCNoLeader, rpctypes.ErrGRPCNotCapable, rpctypes.ErrGRPCStopped,
	} {
		c := etcdtest.New(t)
		var rec etcdtest.Recorder
		client, prefix := c.Client(t, etcdtest.WithRecorder(&rec)), c.Prefix(t)
		var mu sync.Mutex
		refused := 0
		rec.HookStream(func(method string, dir etcdtest.Direction, _ any) (drop bool, err error) {
			mu.Lock()
			defer mu.Unlock()
			if refused++; dir == etcdtest.Recv && refused < 20 {
				return false, refusal
			}
			return false, nil
		})
		p := newTap(t, client, prefix, watch.WithPrefix())
		p.next()
		rev := put(t, client, prefix+"a", "1")
		require.Equal(t, []string{set(prefix+"a", "1", rev)}, p.upTo(rev))
	}
}

// A client that is closed under a stream is not asked again and again.
func TestClosedClientIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	prefix := c.Prefix(t)
	core, logs := observer.New(zapcore.WarnLevel)
	client, err := c.NewClient(etcdtest.WithConfig(func(cfg *clientv3.Config) { cfg.Logger = zap.New(core) }))
	require.NoError(t, err)
	cache, err := watch.NewCache(guarded(t), client, prefix, text)
	require.NoError(t, err)
	p := newTap(t, client, prefix, watch.WithPrefix())
	p.next()
	require.NoError(t, client.Close())
	require.ErrorContains(t, p.fails(), "the etcd client was closed")
	eventually(t, func() bool { return cache.Err() != nil }, "it ends by itself")
	require.ErrorContains(t, cache.WaitRevision(guarded(t), 1), "the etcd client was closed")
	require.ErrorContains(t, cache.Err(), "the etcd client was closed")
	require.NoError(t, cache.Close(guarded(t)))
	require.Empty(t, logs.All())
}

// A value above what the client accepts ends a stream that cannot do without, by name.
func TestValueLargerThanTheClientAcceptsIsNamed(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	small := etcdtest.WithConfig(func(cfg *clientv3.Config) { cfg.MaxCallSendMsgSize, cfg.MaxCallRecvMsgSize = limit, limit })
	c := etcdtest.New(t)
	other, prefix := c.Client(t), c.Prefix(t)
	huge := strings.Repeat("x", limit+limit/4)
	put(t, other, prefix+"a", "fine")
	first := put(t, other, prefix+"huge", huge)
	put(t, other, prefix+"z", "fine")
	for _, opts := range [][]watch.Option{{watch.WithSnapshot()}, {watch.WithRevision(first)}} {
		err := newTap(t, c.Client(t, small), prefix, append(opts, watch.WithPrefix())...).fails()
		var large *watch.TooLargeError
		require.ErrorAs(t, err, &large)
		require.Equal(t, prefix+"huge", large.Key)
		require.Equal(t, limit, large.Limit)
		require.Greater(t, large.Size, len(huge))
	}
	_, err := watch.NewCache(guarded(t), c.Client(t, small), prefix, text)
	require.ErrorIs(t, err, watch.ErrTooLarge)
	require.ErrorContains(t, err, prefix+"huge")
}

// A message that is too large ends the gRPC stream, and so all watches that share it. Those
// whose own it is not go on, also if they could not read the state.
func TestValueLargerThanTheClientAcceptsIsNoMatterOfOthersOnTheGRPCStream(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	const others = 10
	c := etcdtest.New(t)
	other, prefix := c.Client(t), c.Prefix(t)
	client := c.Client(t, etcdtest.WithConfig(func(cfg *clientv3.Config) { cfg.MaxCallSendMsgSize, cfg.MaxCallRecvMsgSize = limit, limit }))
	for i := range watch.MaxGRPCStreams {
		newTap(t, client, fmt.Sprint(prefix, "own", i)).next()
	}
	var book logBook
	var progress atomic.Pointer[watch.Progress]
	newTextCache(t, client, prefix+"huge", watch.WithLogger(book.logger()), watch.WithObserver(watch.Observer{Opened: progress.Store}))
	streams := make([]*tap, others)
	for i := range streams {
		streams[i] = newTap(t, client, fmt.Sprint(prefix, "other", i))
		streams[i].next()
	}
	for round := range 2 {
		put(t, other, prefix+"huge", strings.Repeat("x", limit+limit/4))
		for i, p := range streams {
			key := fmt.Sprint(prefix, "other", i)
			rev := put(t, other, key, fmt.Sprint(round))
			require.Equal(t, []string{set(key, fmt.Sprint(round), rev)}, p.events(1))
		}
		eventually(t, func() bool { return strings.Contains(book.String(), prefix+"huge") }, "it is named")
	}
	eventually(t, func() bool { return progress.Load().GRPCStreams() == watch.MaxGRPCStreams+1 }, "all share one again")
}

// A cache that meets such a value warns, and goes on once it is gone.
func TestCacheGoesOnAfterAValueLargerThanTheClientAccepts(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	c := etcdtest.New(t)
	other, prefix := c.Client(t), c.Prefix(t)
	client := c.Client(t, etcdtest.WithConfig(func(cfg *clientv3.Config) { cfg.MaxCallSendMsgSize, cfg.MaxCallRecvMsgSize = limit, limit }))
	var book logBook
	cache := newTextCache(t, client, prefix, watch.WithLogger(book.logger()))
	put(t, other, prefix+"huge", strings.Repeat("x", limit+limit/4))
	eventually(t, func() bool { return strings.Contains(book.String(), prefix+"huge") }, "it is named")
	remove(t, other, prefix+"huge")
	rev := put(t, other, prefix+"a", "1")
	require.NoError(t, cache.WaitRevision(guarded(t), rev))
	require.Equal(t, 1, cache.Snapshot().Len())
	require.Less(t, strings.Count(book.String(), "level=WARN"), 10)
}

// The first pages of a snapshot are small, whatever the size of values.
func TestPagesOfLargeValuesAreSmall(t *testing.T) {
	t.Parallel()
	const values, size, most = 60, 256 << 10, 4 << 20
	c := etcdtest.New(t)
	other, prefix := c.Client(t), c.Prefix(t)
	for i := range values {
		put(t, other, fmt.Sprintf("%s%02d", prefix, i), strings.Repeat("x", size))
	}
	var rec etcdtest.Recorder
	pages := 0
	client := c.Client(t, etcdtest.WithRecorder(&rec), etcdtest.WithConfig(func(cfg *clientv3.Config) { cfg.MaxCallRecvMsgSize = most }))
	p := newTap(t, client, prefix, watch.WithPrefix(), watch.WithSnapshot())
	require.Len(t, p.next().Events, values)
	for _, call := range rec.Calls() {
		if call.Method == "Range" {
			pages++
			require.NoError(t, call.Err, "no page was refused")
		}
	}
	require.GreaterOrEqual(t, pages, values*size/most)
}
