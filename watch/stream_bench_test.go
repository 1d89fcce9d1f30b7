package watch_test

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/watch"
)

// source yields how many events come at a time from a revision on, or from now if it is
// 0. The first item says that the watch is in place.
type source func(ctx context.Context, client *clientv3.Client, prefix string, revision int64) iter.Seq[int]

func rawSource(ctx context.Context, client *clientv3.Client, prefix string, revision int64) iter.Seq[int] {
	return func(yield func(int) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		ch := client.Watch(clientv3.WithRequireLeader(ctx), prefix, clientv3.WithPrefix(), clientv3.WithRev(revision), clientv3.WithCreatedNotify())
		for resp := range ch {
			if resp.Err() != nil || !yield(len(resp.Events)) {
				return
			}
		}
	}
}

func streamSource(ctx context.Context, client *clientv3.Client, prefix string, revision int64) iter.Seq[int] {
	return func(yield func(int) bool) {
		opts := []watch.Option{watch.WithPrefix()}
		if revision > 0 {
			opts = append(opts, watch.WithRevision(revision))
		}
		for b, err := range watch.Stream(ctx, client, prefix, opts...) {
			if err != nil || !yield(len(b.Events)) {
				return
			}
		}
	}
}

// receive takes events until there are n. It calls placed when the first item has come.
func receive(items iter.Seq[int], n int, placed func()) (got int) {
	first := true
	for k := range items {
		if first {
			placed()
			first = false
		}
		if got += k; got >= n {
			return got
		}
	}
	return got
}

// cost is what receiving took.
type cost struct {
	took   time.Duration
	allocs uint64
}

// measure runs fn and returns its cost, that of the server in the same process included.
func measure(fn func()) cost {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	fn()
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	return cost{took, after.Mallocs - before.Mallocs}
}

func median[T int64 | uint64 | float64 | time.Duration](all []T) T {
	slices.Sort(all)
	return all[len(all)/2]
}

// compare runs both sources by turns, in changing order, and reports the ratio of their
// rates, and what the stream allocates more than the raw watch.
func compare(b *testing.B, events int, run func(source) cost) {
	b.Helper()
	var raw, ours []time.Duration
	var extra []float64
	for i := 0; b.Loop(); i++ {
		var r, s cost
		if i%2 == 0 {
			r, s = run(rawSource), run(streamSource)
		} else {
			s = run(streamSource)
			r = run(rawSource)
		}
		raw, ours = append(raw, r.took), append(ours, s.took)
		extra = append(extra, (float64(s.allocs)-float64(r.allocs))/float64(events))
	}
	b.ReportMetric(float64(events)/median(ours).Seconds(), "events/s")
	b.ReportMetric(float64(median(raw))/float64(median(ours)), "x-raw-rate")
	b.ReportMetric(median(extra), "extra-allocs/event")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkStreamCatchUp receives history, a thousand revisions of many events: as much
// as a server sends at once.
func BenchmarkStreamCatchUp(b *testing.B) {
	c := etcdtest.New(b)
	writer, prefix := c.Client(b), c.Prefix(b)
	const revisions, each = 900, 100
	ops := make([]clientv3.Op, each)
	for i := range ops {
		ops[i] = clientv3.OpPut(fmt.Sprintf("%s%d", prefix, i), "a value of usual length")
	}
	var from int64
	for i := range revisions {
		if rev := commit(b, writer, ops...); i == 0 {
			from = rev
		}
	}
	client := c.Client(b)
	compare(b, revisions*each, func(s source) cost {
		return measure(func() {
			require.Equal(b, revisions*each, receive(s(b.Context(), client, prefix, from), revisions*each, func() {}))
		})
	})
}

// BenchmarkStreamFollow receives what is written at the same time, of one key or of many
// in each revision.
func BenchmarkStreamFollow(b *testing.B) {
	for _, each := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("%d-per-revision", each), func(b *testing.B) {
			c := etcdtest.New(b)
			writer, prefix := c.Client(b), c.Prefix(b)
			client := c.Client(b)
			const total = 10_000
			ops := make([]clientv3.Op, each)
			for i := range ops {
				ops[i] = clientv3.OpPut(fmt.Sprintf("%s%d", prefix, i), "a value of usual length")
			}
			write := func() {
				const writers = 8
				for range writers {
					go func() {
						for range total / each / writers {
							_, _ = writer.Txn(b.Context()).Then(ops...).Commit()
						}
					}()
				}
			}
			compare(b, total, func(s source) cost {
				return measure(func() {
					n := total / each / 8 * 8 * each
					require.Equal(b, n, receive(s(b.Context(), client, prefix, 0), n, write))
				})
			})
		})
	}
}

// BenchmarkStreamLatency is the time from a commit to its delivery, one at a time.
func BenchmarkStreamLatency(b *testing.B) {
	c := etcdtest.New(b)
	writer, prefix := c.Client(b), c.Prefix(b)
	client := c.Client(b)
	const rounds = 200
	latency := func(s source) (all []time.Duration) {
		var began time.Time
		send := func() {
			began = time.Now()
			go func() { _, _ = writer.Put(b.Context(), prefix, "v") }()
		}
		placed := false
		for n := range s(b.Context(), client, prefix, 0) {
			switch {
			case !placed:
				placed = true
				send()
			case n > 0:
				all = append(all, time.Since(began))
				if len(all) == rounds {
					return all
				}
				send()
			}
		}
		return all
	}
	var raw, ours []time.Duration
	for i := 0; b.Loop(); i++ {
		if i%2 == 0 {
			raw = append(raw, latency(rawSource)...)
		}
		ours = append(ours, latency(streamSource)...)
		if i%2 != 0 {
			raw = append(raw, latency(rawSource)...)
		}
	}
	b.ReportMetric(float64(median(ours).Microseconds()), "us-median")
	b.ReportMetric(float64(median(ours))/float64(median(raw)), "x-raw-latency")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkSnapshotThenFollow is the time from opening a stream to the delivery of
// a change that was made right after the snapshot, beside the usual way: a read, and a
// watch from the revision after it.
func BenchmarkSnapshotThenFollow(b *testing.B) {
	c := etcdtest.New(b)
	writer, prefix := c.Client(b), c.Prefix(b)
	client := c.Client(b)
	fill(b, writer, prefix, 100, "v")
	change := func() {
		_, err := writer.Put(b.Context(), prefix, "v")
		require.NoError(b, err)
	}
	usual := func() {
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		resp, err := client.Get(ctx, prefix, clientv3.WithPrefix())
		require.NoError(b, err)
		change()
		for resp := range client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(resp.Header.Revision+1)) {
			if len(resp.Events) > 0 {
				return
			}
		}
	}
	ours := func() {
		for batch, err := range watch.Stream(b.Context(), client, prefix, watch.WithPrefix(), watch.WithSnapshot()) {
			require.NoError(b, err)
			switch {
			case batch.Snapshot:
				change()
			case len(batch.Events) > 0:
				return
			}
		}
	}
	var theirTimes, ourTimes []time.Duration
	for b.Loop() {
		theirTimes = append(theirTimes, measure(usual).took)
		ourTimes = append(ourTimes, measure(ours).took)
	}
	b.ReportMetric(float64(median(ourTimes).Microseconds()), "us-median")
	b.ReportMetric(float64(median(ourTimes))/float64(median(theirTimes)), "x-usual-time")
	b.ReportMetric(0, "ns/op")
}
