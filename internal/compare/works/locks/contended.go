package locks

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

// queuePoll is how often is asked whether all contenders have queued.
const queuePoll = 5 * time.Millisecond

// rules are what differs between contests for a lock.
type rules struct {
	n            int
	held, window time.Duration
	metrics      []perf.Metric
}

// contended is the contest for one lock, by the number of contenders.
func contended() (all []perf.Work) {
	for _, w := range []struct {
		n             int
		on            perf.Servers
		window        time.Duration
		rounds, quick int
	}{
		{2, perf.EtcdFast, time.Second, 5, 3},
		{3, perf.EtcdFast, time.Second, 3, 0},
		{10, perf.EtcdFast, time.Second, 4, 0},
		{100, perf.EtcdFast, 2 * time.Second, 4, 0},
		{1000, perf.EtcdFast, 3 * time.Second, 2, 0},
		{2, perf.EtcdDurable, time.Second, 5, 0},
		{10, perf.EtcdDurable, time.Second, 4, 0},
		{2, perf.EtcdCluster, time.Second, 5, 0},
		{10, perf.EtcdCluster, time.Second, 4, 0},
	} {
		r := rules{n: w.n, window: w.window, metrics: []perf.Metric{throughput(), handOver()}}
		name := fmt.Sprintf("lock/contended/%d", w.n)
		all = append(all, r.work(name, fmt.Sprintf("%d clients contend for a lock", w.n), w.on, w.rounds, w.quick))
	}
	return all
}

// handOvers is the hand-over of a lock for which another client has waited a while. For how
// long matters: a watch that begins in the past, as the official client's does, is told of
// nothing before the server's next pass over such watches, and there is one every 100 ms.
func handOvers() (all []perf.Work) {
	for _, w := range []struct {
		held   time.Duration
		n      int
		on     perf.Servers
		window time.Duration
		rounds int
	}{
		{5 * time.Millisecond, 2, perf.EtcdFast, time.Second, 4},
		{5 * time.Millisecond, 3, perf.EtcdFast, time.Second, 4},
		{5 * time.Millisecond, 2, perf.EtcdDurable, time.Second, 4},
		{5 * time.Millisecond, 2, perf.EtcdCluster, time.Second, 4},
		{5 * time.Millisecond, 3, perf.EtcdCluster, time.Second, 4},
		{150 * time.Millisecond, 2, perf.EtcdFast, 1500 * time.Millisecond, 3},
		{150 * time.Millisecond, 2, perf.EtcdCluster, 1500 * time.Millisecond, 3},
	} {
		r := rules{n: w.n, held: w.held, window: w.window, metrics: []perf.Metric{handOver()}}
		name, title := fmt.Sprintf("lock/hand-over/%v", w.held), fmt.Sprintf("a lock held for %v goes to the client that waits", w.held)
		if w.n > 2 {
			name, title = fmt.Sprintf("%s/%d", name, w.n), fmt.Sprintf("a lock held for %v goes to the next of %d clients", w.held, w.n)
		}
		all = append(all, r.work(name, title, w.on, w.rounds, 0))
	}
	return all
}

func (r rules) work(name, title string, on perf.Servers, rounds, quick int) perf.Work {
	return perf.Work{
		Name: name, Title: title, On: on, Metrics: r.metrics, Rounds: rounds, Quick: quick,
		Begin: begin(func(ctx context.Context, s *stage) ([]perf.Side, error) { return s.contenders(ctx, name, r) }),
	}
}

// contenders returns the sides of a contest for a lock.
func (s *stage) contenders(ctx context.Context, name string, r rules) ([]perf.Side, error) {
	if s.Quick {
		r.window /= 2
	}
	observer, err := s.Client(ctx)
	if err != nil {
		return nil, err
	}
	ourName, theirName, switchedName := name+"/conclave", name+"/official", name+"/switched"
	ours, err := several(r.n, func() (contender, error) { return s.ours(ctx, ourName) })
	if err != nil {
		return nil, err
	}
	theirs, err := several(r.n, func() (contender, error) { return s.theirs(ctx, theirName) })
	if err != nil {
		return nil, err
	}
	switched, err := several(r.n, func() (contender, error) { return s.switched(ctx, switchedName) })
	if err != nil {
		return nil, err
	}
	events, err := s.rawEvents(ctx, name+"/raw", r)
	if err != nil {
		return nil, err
	}
	return []perf.Side{
		{Name: conclave, Round: r.round(observer, ourName, ours)},
		{Name: official, Lacks: unguarded, Round: r.round(observer, theirName, theirs)},
		{Name: oneLine, Round: r.round(observer, switchedName, switched)},
		{Name: raw, Lacks: excludesNone, Round: events},
	}, nil
}

// round is a contest for the lock of the given name.
func (r rules) round(observer *clientv3.Client, name string, all []contender) round {
	queued := func(ctx context.Context) error { return awaitQueue(ctx, observer, name+"/", r.n) }
	return func(ctx context.Context) (perf.Samples, error) {
		c := contest{most: 1, held: r.held, window: r.window, queued: queued}
		samples, err := c.run(ctx, all)
		return declared(samples, r.metrics), err
	}
}

// awaitQueue waits until there are n keys under prefix.
func awaitQueue(ctx context.Context, client *clientv3.Client, prefix string, n int) error {
	for {
		resp, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		if resp.Count >= int64(n) {
			return nil
		}
		select {
		case <-time.After(queuePoll):
		case <-ctx.Done():
			return fmt.Errorf("%d of %d have queued: %w", resp.Count, n, context.Cause(ctx))
		}
	}
}
