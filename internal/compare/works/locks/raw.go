package locks

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

const (
	// rawWindow is how long a round of raw operations takes, or as long as this many
	// of what is held for so long.
	rawWindow = 300 * time.Millisecond
	rawHolds  = 8
)

// rawEvents returns a round of the least that a hand-over takes: from the call of Delete
// until another client's watch has the event. The throughput is that of hand-overs which
// follow each other at once.
func (s *stage) rawEvents(ctx context.Context, key string, r rules) (round, error) {
	writer, err := s.Client(ctx)
	if err != nil {
		return nil, err
	}
	events, err := s.watch(ctx, key)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (perf.Samples, error) {
		var all []float64
		var sum time.Duration
		for over := time.Now().Add(max(rawWindow, rawHolds*r.held)); time.Now().Before(over); {
			took, err := rawEvent(ctx, writer, key, r.held, events)
			if err != nil {
				return nil, err
			}
			all, sum = append(all, float64(took)/float64(time.Millisecond)), sum+took
		}
		samples := perf.Samples{handOver().Name: all, throughput().Name: {float64(len(all)) / sum.Seconds()}}
		return declared(samples, r.metrics), nil
	}, nil
}

// watch returns the deletions of a key, as another client is told of them.
func (s *stage) watch(ctx context.Context, key string) (clientv3.WatchChan, error) {
	watcher, err := s.Client(ctx)
	if err != nil {
		return nil, err
	}
	// Begin's context may be for Begin only.
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.atEnd(func(context.Context) error { stop(); return nil })
	events := watcher.Watch(watching, key, clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	select {
	case <-events:
		return events, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// rawEvent measures one deletion, some time after the key was put.
func rawEvent(ctx context.Context, writer *clientv3.Client, key string, held time.Duration, events clientv3.WatchChan) (time.Duration, error) {
	if _, err := writer.Put(ctx, key, ""); err != nil {
		return 0, err
	}
	if held > 0 {
		<-time.After(held)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type seen struct {
		at  time.Time
		err error
	}
	told := make(chan seen, 1)
	go func() { // ends with the event, or the context
		select {
		case resp, ok := <-events:
			err := resp.Err()
			if !ok {
				err = errors.New("raw: the watch has ended")
			}
			told <- seen{time.Now(), err}
		case <-ctx.Done():
			told <- seen{err: context.Cause(ctx)}
		}
	}()
	began := time.Now()
	_, err := writer.Delete(ctx, key)
	if err != nil {
		cancel()
	}
	event := <-told
	return event.at.Sub(began), errors.Join(err, event.err)
}
