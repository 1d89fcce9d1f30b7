package watches

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

const (
	allEvents, quickEvents = 20_000, 2_000
	// perRevision is how many keys change at a time. With one, the writer would be what
	// bounds the rate.
	perRevision = 20
	// latencies is how many writes are made one after the other.
	latencies = 100
)

func events() perf.Work {
	return perf.Work{
		Name:    "watch/events",
		Title:   "20,000 events of 100 bytes (2,000 in a quick run), 20 in a revision, received as one client writes them with 16 requests in flight",
		On:      perf.EtcdFast,
		Metrics: []perf.Metric{{Name: "events", Unit: "1/s", Stats: []perf.Stat{perf.P50}, More: true}},
		Rounds:  12, Quick: 6,
		Begin: func(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
			n, prefix := allEvents, prefix("events")
			if on.Quick {
				n = quickEvents
			}
			return sides(ctx, on, func(ctx context.Context, s source, reader, writer *clientv3.Client) (perf.Samples, error) {
				took, err := receive(ctx, s, reader, writer, prefix, n)
				return perf.Samples{"events": {float64(n) / took.Seconds()}}, err
			})
		},
	}
}

// receive returns the time from the first of n events' being written to the delivery of
// the last.
func receive(ctx context.Context, s source, reader, writer *clientv3.Client, prefix string, n int) (took time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var start time.Time
	written := make(chan error, 1)
	got := 0
	for k, err := range s(ctx, reader, prefix) {
		if err != nil {
			return 0, err
		}
		if start.IsZero() {
			start = time.Now()
			go func() { written <- write(ctx, writer, prefix, n/perRevision) }()
		}
		if got += k; got == n {
			took = time.Since(start)
			return took, <-written
		}
	}
	return 0, errEnded(got, n)
}

// write makes that many revisions.
func write(ctx context.Context, client *clientv3.Client, prefix string, revisions int) error {
	var ops []clientv3.Op
	for i := range perRevision {
		ops = append(ops, clientv3.OpPut(fmt.Sprintf("%s%d", prefix, i), value()))
	}
	return pipeline(ctx, revisions, func(ctx context.Context, _ int) error {
		_, err := client.Txn(ctx).Then(ops...).Commit()
		return err
	})
}

func latency() perf.Work {
	return perf.Work{
		Name:    "watch/latency",
		Title:   "from the call of Put to the delivery of the event, one at a time",
		On:      perf.EtcdFast,
		Metrics: []perf.Metric{{Name: "latency", Unit: "ms", Stats: []perf.Stat{perf.P50, perf.P90, perf.P99}}},
		Rounds:  20, Quick: 3,
		Begin: func(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
			prefix := prefix("latency")
			return sides(ctx, on, func(ctx context.Context, s source, reader, writer *clientv3.Client) (perf.Samples, error) {
				took, err := receiveEach(ctx, s, reader, writer, prefix, latencies)
				return perf.Samples{"latency": took}, err
			})
		},
	}
}

// receiveEach returns how many milliseconds each of n writes took to be delivered. The
// writer waits for the delivery, not for the answer to its request.
func receiveEach(ctx context.Context, s source, reader, writer *clientv3.Client, prefix string, n int) (took []float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var start time.Time
	written := make(chan error, n)
	put := func() {
		start = time.Now()
		go func() {
			_, err := writer.Put(ctx, prefix, value())
			written <- err
		}()
	}
	for k, err := range s(ctx, reader, prefix) {
		switch {
		case err != nil:
			return nil, err
		case start.IsZero():
			put()
		case k > 0:
			took = append(took, millis(time.Since(start)))
			if err := <-written; err != nil || len(took) == n {
				return took, err
			}
			put()
		}
	}
	return nil, errEnded(len(took), n)
}
