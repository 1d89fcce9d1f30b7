package watch_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/watch"
)

// An answer to somebody's question for progress, which clientv3 hands to each watch on the
// gRPC stream, must not stand for a history that is still on its way.
func TestHistoryOnASlowLinkArrivesBesideQuestionsForProgress(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	other, prefix := c.Client(t), c.Prefix(t)
	client, net := c.ProxiedClient(t)
	cache := newTextCache(t, client, prefix)
	value := strings.Repeat("v", 200<<10)
	net.RateToClient(3 << 20)
	net.DelayToClient(time.Millisecond)
	var want []string
	var first, last int64
	for range 15 {
		last = put(t, other, prefix+"k", value)
		want = append(want, set(prefix+"k", value, last))
		if first == 0 {
			first = last
		}
	}
	asked := make(chan error, 1)
	go func() { asked <- cache.WaitRevision(guarded(t), last) }()
	got := newTap(t, client, prefix+"k", watch.WithRevision(first)).upTo(last)
	require.Len(t, got, len(want), "every event, once")
	require.True(t, equal([][]string{want}, [][]string{got}), "in order")
	require.NoError(t, <-asked)
}

// Somebody else's watch on the client, which waits for a revision to come, has a server
// leave all questions for progress on its gRPC stream unanswered.
func TestForeignWatchAtAFutureRevisionHoldsUpNobody(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, prefix := c.Client(t), c.Prefix(t)
	cache := newTextCache(t, client, prefix+"quiet/")
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(t.Context()))
	defer cancel()
	created := <-client.Watch(ctx, prefix+"other", clientv3.WithRev(revisionOf(t, client)+1000), clientv3.WithCreatedNotify())
	require.True(t, created.Created)
	for range 3 {
		require.NoError(t, cache.WaitRevision(guarded(t), put(t, client, prefix+"elsewhere", "v")))
	}
}

// Many caches come back together over a slow link, and somebody waits for each.
func TestCachesThatComeBackTogetherOnASlowLinkMissNothing(t *testing.T) {
	t.Parallel()
	const caches, rounds = 40, 4
	c := etcdtest.New(t)
	other, prefix := c.Client(t), c.Prefix(t)
	client, net := c.ProxiedClient(t, etcdtest.WithFastReconnect())
	value := strings.Repeat("v", 20<<10)
	all := make([]*watch.Cache[string], caches)
	for i := range all {
		all[i] = newTextCache(t, client, fmt.Sprintf("%s%02d/", prefix, i))
	}
	for round := range rounds {
		net.Refuse()
		var last int64
		for i := range caches {
			last = put(t, other, fmt.Sprintf("%s%02d/k", prefix, i), fmt.Sprint(round, value))
		}
		waited := make([]chan error, caches)
		for i, cache := range all {
			waited[i] = make(chan error, 1)
			go func() { waited[i] <- cache.WaitRevision(guarded(t), last) }()
		}
		net.Heal()
		net.RateToClient(4 << 20)
		net.DelayToClient(5 * time.Millisecond)
		for i, cache := range all {
			require.NoError(t, <-waited[i])
			item, ok := cache.Get(fmt.Sprintf("%s%02d/k", prefix, i))
			require.True(t, ok)
			require.True(t, item.Value == fmt.Sprint(round, value), "cache %d has an old value in round %d", i, round)
		}
		net.Heal()
	}
}

// A follower whose history was compacted away may tell of a gap although the state is being read
// because of the last one.
func TestAStateIsToldOnceHoweverManyGapsThereAre(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(1))
	client := c.Client(t)
	revision := put(t, client, c.Prefix(t)+"k", "v")
	all, err := watch.AfterGaps(guarded(t), client, c.Prefix(t), 3)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.True(t, all[0].Snapshot)
	require.GreaterOrEqual(t, all[0].Revision, revision)
}
