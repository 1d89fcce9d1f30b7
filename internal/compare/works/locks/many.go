package locks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/lock"
)

// many is locking and unlocking by the goroutines of one process, each a name of its own, on
// one session.
func many() (all []perf.Work) {
	for _, w := range []struct {
		n, visits     int
		on            perf.Servers
		rounds, quick int
	}{
		{1, 100, perf.EtcdFast, 10, 0},
		{8, 50, perf.EtcdFast, 8, 0},
		{64, 20, perf.EtcdFast, 8, 0},
		{256, 10, perf.EtcdFast, 4, 0},
		{64, 10, perf.EtcdDurable, 6, 0},
		{64, 10, perf.EtcdCluster, 6, 0},
	} {
		name := fmt.Sprintf("lock/many/%d", w.n)
		all = append(all, perf.Work{
			Name: name, Title: fmt.Sprintf("%d goroutines lock and unlock, each a name of its own", w.n), On: w.on,
			Metrics: []perf.Metric{throughput(), calls()}, Rounds: w.rounds, Quick: w.quick,
			Begin: begin(func(ctx context.Context, s *stage) ([]perf.Side, error) { return s.many(ctx, name, w.n, w.visits) }),
		})
	}
	return all
}

// calls is the time of a Lock and its Unlock.
func calls() perf.Metric {
	return perf.Metric{Name: "latency", Unit: "µs", Stats: []perf.Stat{perf.P50, perf.P99}}
}

// many returns the sides of many goroutines with names of their own.
func (s *stage) many(ctx context.Context, name string, n, visits int) ([]perf.Side, error) {
	session, err := s.session(ctx)
	if err != nil {
		return nil, err
	}
	theirSession, err := s.official(ctx)
	if err != nil {
		return nil, err
	}
	var ours, theirs []contender
	var prefixes []string
	for i := range n {
		m, err := lock.NewMutex(session, fmt.Sprintf("%s/conclave/%d", name, i))
		if err != nil {
			return nil, err
		}
		ours = append(ours, holder(m.Lock))
		theirs = append(theirs, mutexOf(theirSession, fmt.Sprintf("%s/official/%d", name, i)))
		prefixes = append(prefixes, fmt.Sprintf("%s/guarded/%d/", name, i))
	}
	guarded, err := s.guardedNames(ctx, prefixes...)
	if err != nil {
		return nil, err
	}
	return []perf.Side{
		{Name: conclave, Round: sideBySide(visits, ours)},
		{Name: official, Lacks: unguarded, Round: sideBySide(visits, theirs)},
		{Name: "raw guarded", Lacks: "waits for nobody and tells of no loss", Round: sideBySide(visits, guarded)},
	}, nil
}

// sideBySide returns a round in which contenders make n visits each at the same time.
func sideBySide(n int, all []contender) round {
	return func(ctx context.Context) (perf.Samples, error) {
		samples, errs := make([]perf.Samples, len(all)), make([]error, len(all))
		began := time.Now()
		var wg sync.WaitGroup
		for i, c := range all {
			wg.Go(func() { samples[i], errs[i] = timed(n, c)(ctx) })
		}
		wg.Wait()
		took := time.Since(began)
		var each []float64
		for _, s := range samples {
			each = append(each, s[latency().Name]...)
		}
		return perf.Samples{throughput().Name: {float64(len(each)) / took.Seconds()}, calls().Name: each}, errors.Join(errs...)
	}
}
