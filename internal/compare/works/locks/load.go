package locks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

const (
	// loadRate is how many writes a second others make meanwhile; loadTick is how
	// often those that are due are sent.
	loadRate = 500
	loadTick = 2 * time.Millisecond
	// leastRate is what a round has to see of them.
	leastRate = 0.5 * loadRate
	// loadWriters is how many of them can be under way: enough for the rate if each
	// takes 100 ms.
	loadWriters = 64
	// loadKeys is how many keys they go to.
	loadKeys = 100
)

// underWrites is the contest for a lock while another client writes.
func underWrites() (all []perf.Work) {
	for _, n := range []int{2, 10} {
		for _, on := range []perf.Servers{perf.EtcdFast, perf.EtcdCluster} {
			r := rules{n: n, window: time.Second, metrics: []perf.Metric{handOver(), throughput()}}
			name := fmt.Sprintf("lock/writes/%d", n)
			all = append(all, perf.Work{
				Name: name, Title: fmt.Sprintf("%d clients contend for a lock while another writes %d times a second", n, loadRate), On: on,
				Metrics: r.metrics, Rounds: 4,
				Begin: begin(func(ctx context.Context, s *stage) ([]perf.Side, error) { return s.loaded(ctx, name, r) }),
			})
		}
	}
	return all
}

// loaded returns the sides of a contest while another client writes.
func (s *stage) loaded(ctx context.Context, name string, r rules) ([]perf.Side, error) {
	client, err := s.Client(ctx)
	if err != nil {
		return nil, err
	}
	prefix := name + "/background/"
	s.atEnd(func(ctx context.Context) error {
		_, err := client.Delete(ctx, prefix, clientv3.WithPrefix())
		return err
	})
	sides, err := s.contenders(ctx, name, r)
	for i, side := range sides {
		sides[i].Round = func(ctx context.Context) (perf.Samples, error) {
			return during(ctx, side.Round, func(ctx context.Context) (int, error) { return load(ctx, client, prefix) })
		}
	}
	return sides, err
}

// during does a round while load writes, at least half as often as it should.
func during(ctx context.Context, once round, load func(context.Context) (int, error)) (perf.Samples, error) {
	loading, stop := context.WithCancel(ctx)
	defer stop()
	var n int
	var failed error
	var wg sync.WaitGroup
	began := time.Now()
	wg.Go(func() { n, failed = load(loading) })
	samples, err := once(ctx)
	stop()
	wg.Wait()
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	if rate := float64(n) / time.Since(began).Seconds(); rate < leastRate {
		return nil, fmt.Errorf("only %.0f writes a second were made meanwhile, of %d", rate, loadRate)
	}
	return samples, nil
}

// load writes steadily until ctx ends, whatever a write takes, and returns how many there
// were.
func load(ctx context.Context, client *clientv3.Client, prefix string) (int, error) {
	due := make(chan int)
	writing := context.WithoutCancel(ctx) // a write that was begun is awaited
	var written atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, loadWriters)
	for i := range errs {
		wg.Go(func() {
			for k := range due {
				if _, err := client.Put(writing, fmt.Sprintf("%s%d", prefix, k%loadKeys), record); err != nil {
					errs[i] = err
					continue
				}
				written.Add(1)
			}
		})
	}
	pace(ctx, due)
	close(due)
	wg.Wait()
	return int(written.Load()), errors.Join(errs...)
}

// pace sends what is due to be written until ctx ends.
func pace(ctx context.Context, due chan<- int) {
	ticker := time.NewTicker(loadTick)
	defer ticker.Stop()
	began := time.Now()
	for sent := 0; ; {
		for ; sent < int(time.Since(began).Seconds()*loadRate); sent++ {
			select {
			case due <- sent:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
