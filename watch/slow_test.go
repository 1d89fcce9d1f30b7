package watch_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/watch"
)

// backlog commits n revisions of ten events of a kilobyte each and returns the last.
func backlog(t *testing.T, client *clientv3.Client, prefix string, n int) (rev int64) {
	t.Helper()
	ops := make([]clientv3.Op, 10)
	value := strings.Repeat("x", 1000)
	for i := range ops {
		ops[i] = clientv3.OpPut(fmt.Sprintf("%s%d", prefix, i), value)
	}
	for range n {
		rev = commit(t, client, ops...)
	}
	return rev
}

func TestBacklogOfASlowConsumerStaysOnTheServer(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	other, prefix := c.Client(t), c.Prefix(t)
	var rec etcdtest.Recorder
	var book logBook
	const limit = 500_000
	p := newTap(t, c.Client(t, etcdtest.WithRecorder(&rec)), prefix, watch.WithPrefix(), watch.WithBuffer(limit), watch.WithLogger(book.logger()))
	first := p.next()
	backlog(t, other, prefix, 200)
	eventually(t, func() bool { return strings.Contains(book.String(), "too slow") }, "the stream has stopped")
	last := backlog(t, other, prefix, 500)
	_, received := rec.Bytes()
	require.Less(t, received, int64(2*limit), "of seven million")

	// What the consumer then takes is all there is, and the watch was not opened for
	// every batch.
	from, events := first.Revision, 0
	for from < last {
		b := p.next()
		revisions := make(map[int64]int)
		for _, ev := range b.Events {
			revisions[ev.Kv.ModRevision]++
		}
		for rev := from + 1; rev <= b.Revision; rev++ {
			require.Contains(t, []int{0, 10}, revisions[rev])
		}
		from, events = b.Revision, events+len(b.Events)
	}
	require.Equal(t, 7000, events)
	require.Less(t, len(watches(&rec)), 20)
}

func TestSlowConsumerHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, prefix := c.Client(t), c.Prefix(t)
	slow := newTap(t, client, prefix, watch.WithPrefix(), watch.WithBuffer(1))
	quick := newTap(t, client, prefix, watch.WithPrefix())
	slow.next()
	quick.next()
	last := backlog(t, client, prefix, 500)
	require.Len(t, quick.upTo(last), 5000)
	require.Len(t, slow.upTo(last), 5000)
}

func TestConflationKeepsTheLatestOfEachKey(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	other, prefix := c.Client(t), c.Prefix(t)
	p := newTap(t, c.Client(t), prefix, watch.WithPrefix(), watch.WithConflation(), watch.WithBuffer(100_000))
	p.next()
	deleted := prefix + "deleted"
	put(t, other, deleted, "v")
	const rounds = 1000 / scale
	backlog(t, other, prefix, rounds)
	put(t, other, prefix+"0", "last")
	rev := remove(t, other, deleted)

	events := 0
	have := make(map[string]string)
	for from := int64(0); from < rev; {
		b := p.next()
		seen := make(map[string]bool)
		last := from
		for _, ev := range b.Events {
			key := string(ev.Kv.Key)
			require.False(t, seen[key], "%s is there twice", key)
			seen[key] = true
			require.GreaterOrEqual(t, ev.Kv.ModRevision, last, "in order")
			last = ev.Kv.ModRevision
			have[key] = string(ev.Kv.Value)
			if ev.Type == clientv3.EventTypeDelete {
				delete(have, key)
			}
		}
		from, events = b.Revision, events+len(b.Events)
	}
	require.Len(t, have, 10)
	require.Equal(t, "last", have[prefix+"0"])
	require.Less(t, events, 10*rounds/2, "most were left out")
}

func TestCompactionOfABacklogIsToldAfterWhatWasReceived(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	client := c.Client(t)
	for _, opts := range [][]watch.Option{nil, {watch.WithSnapshot()}} {
		var book logBook
		p := newTap(t, c.Client(t), "k", append(opts, watch.WithPrefix(), watch.WithBuffer(1), watch.WithLogger(book.logger()))...)
		first := p.next()
		r1 := put(t, client, "k", "1")
		eventually(t, func() bool { return strings.Contains(book.String(), "too slow") }, "the stream has stopped")
		put(t, client, "k", "2")
		r3 := put(t, client, "k", "3")
		compact(t, client)
		require.Less(t, first.Revision, r1)
		require.Equal(t, []string{set("k", "1", r1)}, p.events(1), "it had been received")
		if opts == nil {
			require.ErrorIs(t, p.fails(), watch.ErrCompacted)
			continue
		}
		b := p.next()
		require.True(t, b.Resync)
		require.Equal(t, []string{set("k", "3", r3)}, show(b))
	}
}

func TestContextEndsAStreamThatWaitsForItsConsumer(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, prefix := c.Client(t), c.Prefix(t)
	ctx, cancel := context.WithCancel(guarded(t))
	var book logBook
	p := tapInto(t, watch.Stream(ctx, client, prefix, watch.WithPrefix(), watch.WithBuffer(1), watch.WithLogger(book.logger())))
	p.next()
	put(t, client, prefix, "1")
	eventually(t, func() bool { return strings.Contains(book.String(), "too slow") }, "the stream has stopped")
	cancel()
	require.ErrorIs(t, p.fails(), context.Canceled)
}

// watching counts the goroutines of streams, and of clientv3's watches.
func watching() (n int) {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, "watch.(*follower)") || strings.Contains(stack, "clientv3.(*watchGRPCStream)") || strings.Contains(stack, "namespace.(*watcherPrefix)") {
			n++
		}
	}
	return n
}

// Not parallel: it counts the goroutines of the process.
func TestLeavingTheLoopReleasesEverything(t *testing.T) {
	c := etcdtest.New(t)
	client, prefix := c.Client(t), c.Prefix(t)
	wrapped := c.Client(t)
	inside(wrapped, prefix)
	for _, cl := range []*clientv3.Client{client, wrapped} {
		for _, opts := range [][]watch.Option{{}, {watch.WithSnapshot()}, {watch.WithRevision(1)}, {watch.WithBuffer(1)}} {
			for range 3 {
				put(t, cl, "k", "v")
				for b, err := range watch.Stream(t.Context(), cl, "k", opts...) {
					require.NoError(t, err)
					require.NotZero(t, b.Revision)
					require.Positive(t, watching())
					break
				}
				eventually(t, func() bool { return watching() == 0 }, "all goroutines have ended")
			}
		}
	}
	func() {
		defer func() { require.Equal(t, "thrown", recover()) }()
		for _, err := range watch.Stream(t.Context(), client, "k") {
			require.NoError(t, err)
			panic("thrown")
		}
	}()
	eventually(t, func() bool { return watching() == 0 }, "all goroutines have ended")
}

func TestStreamsThatNobodyIteratesCostNothing(t *testing.T) {
	t.Parallel()
	var rec etcdtest.Recorder
	client := etcdtest.New(t).Client(t, etcdtest.WithRecorder(&rec))
	rec.Reset()
	_ = watch.Stream(t.Context(), client, "k", watch.WithSnapshot(), watch.WithStall(time.Hour))
	require.Empty(t, rec.Calls())
}
