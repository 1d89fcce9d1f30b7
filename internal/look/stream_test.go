package look_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/look"
	"github.com/conclave-go/conclave/internal/vtime"
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
	one, two := list.Stream(), list.Stream()
	watch(t, b.client, one.Context(), b.prefix+"1")
	watch(t, b.client, two.Context(), b.prefix+"2")
	require.Equal(t, 1, b.rec.Count("WatchStream"))

	one.Abandon()
	two.Abandon() // from another who waited on it
	watch(t, b.client, list.Stream().Context(), b.prefix+"3")
	watch(t, b.client, list.Stream().Context(), b.prefix+"4")
	require.Equal(t, 2, b.rec.Count("WatchStream"))
}

func TestOnlyAbandonedStreamsHaveMetadataOfTheirOwn(t *testing.T) {
	t.Parallel()
	keys := func(list *look.List) int {
		md, _ := metadata.FromOutgoingContext(list.Stream().Context())
		return len(md)
	}
	one, two := look.New(t.Context()), look.New(t.Context())
	require.Equal(t, keys(one), keys(two))
	before := keys(one)
	one.Stream().Abandon()
	require.Equal(t, before+1, keys(one))
	require.Equal(t, before, keys(two))
}

func TestAnIdleWatchKeepsTheStreamOpen(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	var rec etcdtest.Recorder
	client := c.Client(t, etcdtest.WithRecorder(&rec))
	lease, end := context.WithCancel(t.Context())
	list := look.New(lease)
	stream := list.Stream()
	first, closeFirst := context.WithCancel(stream.Context())
	ch := watch(t, client, first, c.Prefix(t)+"k")
	stream.Created(client, c.Prefix(t)+"idle")
	require.Eventually(t, func() bool { return rec.Count("Watch") == 2 }, guard, guard/10000)
	stream.Created(client, c.Prefix(t)+"idle")
	closeFirst()
	for range ch { // until it is closed
	}
	stream.Leave(client, c.Prefix(t)+"idle", false)
	again := list.Stream()
	watch(t, client, again.Context(), c.Prefix(t)+"k")
	require.Equal(t, 1, rec.Count("WatchStream"))
	require.Equal(t, 3, rec.Count("Watch"), "one idle watch")
	end()
	list.End()
	again.Leave(client, c.Prefix(t)+"idle", false)
}

// clientv3 leaves a stream open whose only watch is given up before it was created.
func TestNoStreamOutlivesItsLastWatch(t *testing.T) {
	t.Parallel()
	for what, over := range map[string]func(list *look.List, s *look.Stream, end func()){
		"abandoned":       func(_ *look.List, s *look.Stream, _ func()) { s.Abandon() },
		"the lease's end": func(list *look.List, _ *look.Stream, end func()) { end(); list.End() },
	} {
		for _, created := range []bool{false, true} {
			for _, last := range []bool{false, true} { // what ends first
				t.Run(fmt.Sprint(what, created, last), func(t *testing.T) {
					t.Parallel()
					b := newBench(t)
					lease, end := context.WithCancel(t.Context())
					list := look.New(lease)
					defer func() { end(); list.End() }()
					s := list.Stream()
					ctx, cancel := context.WithCancel(s.Context())
					defer cancel()
					if created {
						watch(t, b.client, ctx, b.prefix+"k")
						s.Created(b.client, b.prefix)
						cancel()
					} else {
						release := b.rec.Stall("Watch")
						done := make(chan struct{})
						go func() {
							defer close(done)
							for range b.client.Watch(ctx, b.prefix+"k") { // until it is closed
							}
						}()
						require.Eventually(t, func() bool { return b.rec.Count("Watch") > 0 }, guard, guard/10000)
						cancel()
						<-done
						release()
					}
					if !last {
						over(list, s, end)
					}
					s.Leave(b.client, b.prefix, !created)
					if last {
						over(list, s, end)
					}
					require.Eventually(t, func() bool { return b.rec.Open("Watch") == 0 }, guard, guard/10000)
				})
			}
		}
	}
}

func TestAnAbandonedStreamLosesItsIdleWatch(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	lease, end := context.WithCancel(t.Context())
	list := look.New(lease)
	defer list.End()
	defer end()
	s := list.Stream()
	s.Created(b.client, b.prefix+"idle")
	require.Eventually(t, func() bool { return b.rec.Count("Watch") == 1 }, guard, guard/10000)
	s.Abandon()
	require.Equal(t, 1, b.rec.Open("Watch"), "somebody uses it")
	s.Leave(b.client, b.prefix, false)
	require.Eventually(t, func() bool { return b.rec.Open("Watch") == 0 }, guard, guard/10000)
	next := list.Stream()
	next.Created(b.client, b.prefix+"idle")
	require.Eventually(t, func() bool { return b.rec.Count("Watch") == 2 }, guard, guard/10000)
	require.Equal(t, 2, b.rec.Count("WatchStream"))
	next.Leave(b.client, b.prefix, false)
}

func TestADoubtedStreamEndsUnlessSomethingIsHeardOnIt(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		list := look.New(t.Context())
		s := list.Stream()
		s.Abandon()
		s.Doubt(time.Second)
		vtime.Sleep(time.Second / 2)
		s.Heard()
		vtime.Sleep(time.Hour)
		require.NoError(t, s.Context().Err(), "the event was on its way")
		s.Doubt(time.Second)
		require.NoError(t, list.Stream().Context().Err())
		vtime.Sleep(time.Second / 2)
		require.NoError(t, s.Context().Err())
		vtime.Sleep(time.Second)
		require.Error(t, s.Context().Err())
		require.NoError(t, list.Stream().Context().Err(), "the next is another")
		list.End()
	})
}
