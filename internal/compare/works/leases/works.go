package leases

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/shard"
)

const (
	// watched is for how long requests are counted while the locks are held, twice as
	// long as in a quick run.
	watched = 5 * time.Second
	// endTimeout bounds the end of a round.
	endTimeout = time.Minute
	// makers is how many locks are taken, or sessions begun and ended, at a time.
	makers = 64
)

// Works returns the works of this package.
func Works() []perf.Work {
	return []perf.Work{renewals(1, 3*time.Second), renewals(1000, 3*time.Second), renewals(10_000, 6*time.Second)}
}

func renewals(holds int, ttl time.Duration) perf.Work {
	name := fmt.Sprintf("lease/renewals/%d", holds)
	return perf.Work{
		Name: name, Title: fmt.Sprintf("%d locks are held, TTL %v", holds, ttl), On: perf.EtcdFast,
		Metrics: []perf.Metric{
			{Name: "requests", Unit: "1/s", Stats: []perf.Stat{perf.Mean}},
			{Name: "traffic", Unit: "B/s", Stats: []perf.Stat{perf.Mean}},
		},
		// They are counted, so one round says it.
		Rounds: 1,
		Begin: func(_ context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
			h := holding{endpoints: on.Endpoints(), name: name, n: holds, ttl: ttl, watched: watched}
			if on.Quick {
				h.watched /= 2
			}
			return h.sides(), func() error { return nil }, nil
		},
	}
}

// holding is a number of locks held for a while.
type holding struct {
	endpoints []string
	name      string
	n         int
	ttl       time.Duration
	watched   time.Duration
}

// holder takes n locks and returns how to give all of them up.
type holder func(ctx context.Context, client *clientv3.Client) (end func(context.Context) error, err error)

// sides are Conclave and the official client, which is the same with one session as with a
// session for each if there is one lock.
func (h holding) sides() []perf.Side {
	const lacks = "believes a leader that was deposed; does not notice that its keys are gone"
	sides := []perf.Side{
		{Name: "conclave", Round: h.round(h.ours)},
		{Name: "as shards", Round: h.round(h.asShards)},
		{Name: "clientv3/concurrency, one session", Lacks: "goroutines do not exclude each other; " + lacks, Round: h.round(h.theirs("one", 1))},
	}
	if h.n > 1 {
		sides = append(sides, perf.Side{Name: "clientv3/concurrency, session for each", Lacks: lacks, Round: h.round(h.theirs("each", h.n))})
	}
	return sides
}

// round has the locks taken by a client of its own, counts what it sends while nothing
// happens, and gives them up: no side's leases are there while another is measured.
func (h holding) round(hold holder) func(context.Context) (perf.Samples, error) {
	return func(ctx context.Context) (_ perf.Samples, err error) {
		var m meter
		client, err := clientv3.New(clientv3.Config{
			Endpoints: h.endpoints, Logger: zap.NewNop(), DialOptions: []grpc.DialOption{grpc.WithStatsHandler(&m)},
		})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, client.Close()) }()
		end, err := hold(ctx, client)
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
			defer cancel()
			err = errors.Join(err, end(ctx))
		}()
		if err != nil {
			return nil, err
		}
		return m.watch(ctx, h.watched)
	}
}

// watch returns what is sent and received in the time.
func (m *meter) watch(ctx context.Context, d time.Duration) (perf.Samples, error) {
	began, before := time.Now(), m.read()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	seconds, got := time.Since(began).Seconds(), m.read().since(before)
	return perf.Samples{
		"requests": {float64(got.sent) / seconds},
		"traffic":  {float64(got.bytes) / seconds},
	}, nil
}

// ours holds the locks on one session.
func (h holding) ours(ctx context.Context, client *clientv3.Client) (func(context.Context) error, error) {
	s, err := lease.NewSession(ctx, client, lease.WithTTL(h.ttl))
	if err != nil {
		return func(context.Context) error { return nil }, err
	}
	holds := make([]*lock.Hold, h.n)
	err = each(h.n, func(i int) error {
		m, err := lock.NewMutex(s, h.lock("conclave", i))
		if err == nil {
			holds[i], err = m.Lock(ctx)
		}
		return err
	})
	return func(ctx context.Context) error {
		var lost error
		for _, held := range holds {
			if held != nil && held.Err() != nil {
				lost = held.Err() // one will do
			}
		}
		return errors.Join(lost, s.Close(ctx))
	}, err
}

// asShards holds them as the shards of a group that has one member.
func (h holding) asShards(ctx context.Context, client *clientv3.Client) (func(context.Context) error, error) {
	s, err := lease.NewSession(ctx, client, lease.WithTTL(h.ttl))
	if err != nil {
		return func(context.Context) error { return nil }, err
	}
	group := h.name + "/group"
	var early atomic.Int64 // ownerships that have ended before they were to
	m, err := shard.Join(ctx, s, group, "one", func(ctx context.Context, o *shard.Ownership) error {
		select {
		case <-o.Leaving():
		case <-ctx.Done():
			early.Add(1)
		}
		return nil
	}, shard.WithShards(h.n))
	if err == nil {
		err = m.Ready(ctx)
	}
	return func(ctx context.Context) error {
		lost := early.Load()
		if m != nil {
			err = m.Close(ctx)
		}
		_, gone := client.Delete(ctx, group+"/", clientv3.WithPrefix())
		if lost > 0 {
			err = errors.Join(err, fmt.Errorf("%d shards were lost meanwhile", lost))
		}
		return errors.Join(err, gone, s.Close(ctx))
	}, err
}

// theirs holds the locks on so many of the official client's sessions.
func (h holding) theirs(side string, sessions int) holder {
	return func(ctx context.Context, client *clientv3.Client) (func(context.Context) error, error) {
		all := make([]*concurrency.Session, sessions)
		err := each(sessions, func(i int) (err error) {
			all[i], err = concurrency.NewSession(client, concurrency.WithTTL(int(h.ttl/time.Second)))
			return err
		})
		if err == nil {
			err = each(h.n, func(i int) error {
				return concurrency.NewMutex(all[i%sessions], h.lock("official/"+side, i)).Lock(ctx)
			})
		}
		return func(context.Context) error { return end(all) }, err
	}
}

// end ends sessions, none of which must have been lost.
func end(all []*concurrency.Session) error {
	return each(len(all), func(i int) error {
		if all[i] == nil {
			return nil // it was not begun
		}
		select {
		case <-all[i].Done():
			return errors.New("the session was lost meanwhile")
		default:
			return all[i].Close()
		}
	})
}

// lock names a lock.
func (h holding) lock(side string, i int) string { return fmt.Sprintf("%s/%s/%d", h.name, side, i) }
