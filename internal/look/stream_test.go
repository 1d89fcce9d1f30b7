package look_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/look"
)

func watch(t *testing.T, client *clientv3.Client, ctx context.Context, key string) clientv3.WatchChan { //nolint:revive // ctx is what is tested
	t.Helper()
	ch := client.Watch(ctx, key, clientv3.WithCreatedNotify())
	select {
	case resp := <-ch:
		require.NoError(t, resp.Err())
	case <-guarded(t).Done():
		require.FailNow(t, "the watch is not opened")
	}
	return ch
}

func TestWatchesShareAStreamUntilItIsAbandoned(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	lease, end := context.WithCancel(t.Context())
	defer end()
	list := look.New(lease)
	one, generation := list.WatchContext()
	two, _ := list.WatchContext()
	watch(t, b.client, one, b.prefix+"1")
	watch(t, b.client, two, b.prefix+"2")
	require.Equal(t, 1, b.rec.Count("WatchStream"))

	list.Abandon(generation)
	list.Abandon(generation) // from another who waited on it
	three, next := list.WatchContext()
	require.Equal(t, generation+1, next)
	watch(t, b.client, three, b.prefix+"3")
	four, _ := list.WatchContext()
	watch(t, b.client, four, b.prefix+"4")
	require.Equal(t, 2, b.rec.Count("WatchStream"))
}

func TestOnlyAbandonedStreamsHaveMetadataOfTheirOwn(t *testing.T) {
	t.Parallel()
	keys := func(list *look.List) int {
		ctx, _ := list.WatchContext()
		md, _ := metadata.FromOutgoingContext(ctx)
		return len(md)
	}
	one, two := look.New(t.Context()), look.New(t.Context())
	require.Equal(t, keys(one), keys(two))
	before := keys(one)
	_, generation := one.WatchContext()
	one.Abandon(generation)
	require.Equal(t, before+1, keys(one))
	require.Equal(t, before, keys(two))
}

func TestAnIdleWatchKeepsTheStreamOpen(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for _, idle := range []bool{true, false} {
		var rec etcdtest.Recorder
		client := c.Client(t, etcdtest.WithRecorder(&rec))
		lease, end := context.WithCancel(t.Context())
		list := look.New(lease)
		ctx, _ := list.WatchContext()
		first, closeFirst := context.WithCancel(ctx)
		ch := watch(t, client, first, c.Prefix(t)+"k")
		if idle {
			list.KeepOpen(client, c.Prefix(t)+"idle")
			require.Eventually(t, func() bool { return rec.Count("Watch") == 2 }, guard, guard/10000)
			list.KeepOpen(client, c.Prefix(t)+"idle")
		}
		closeFirst()
		for range ch { // until it is closed
		}
		watch(t, client, ctx, c.Prefix(t)+"k")
		if idle {
			require.Equal(t, 1, rec.Count("WatchStream"))
			require.Equal(t, 3, rec.Count("Watch"), "one idle watch")
		} else {
			require.LessOrEqual(t, rec.Count("WatchStream"), 2)
		}
		end()
		list.End()
	}
}

func TestAnAbandonedStreamLosesItsIdleWatch(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	lease, end := context.WithCancel(t.Context())
	list := look.New(lease)
	defer list.End()
	defer end()
	list.KeepOpen(b.client, b.prefix+"idle")
	require.Eventually(t, func() bool { return b.rec.Count("Watch") == 1 }, guard, guard/10000)
	_, generation := list.WatchContext()
	list.Abandon(generation)
	list.KeepOpen(b.client, b.prefix+"idle")
	require.Eventually(t, func() bool { return b.rec.Count("Watch") == 2 }, guard, guard/10000)
	require.Equal(t, 2, b.rec.Count("WatchStream"))
}
