package locks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/lock"
)

// tryCalls is how many calls a round has: so many that entries which the cluster makes on
// its own do not count.
const tryCalls = 100

// tryHeld is asking for a lock that another client holds.
func tryHeld() perf.Work {
	const name = "lock/try-held"
	return perf.Work{
		Name: name, Title: "TryLock on a lock that is held", On: perf.EtcdFast,
		Metrics: []perf.Metric{latency(), {Name: "writes", Unit: "writes", Stats: []perf.Stat{perf.Mean}}}, Rounds: 10, Quick: 3,
		Begin: begin(func(ctx context.Context, s *stage) ([]perf.Side, error) { return s.refused(ctx, name) }),
	}
}

// refused returns the sides that are told that a lock is held.
func (s *stage) refused(ctx context.Context, name string) ([]perf.Side, error) {
	ours, err := s.oursRefused(ctx, name+"/conclave")
	if err != nil {
		return nil, err
	}
	theirs, err := s.theirsRefused(ctx, name+"/official")
	if err != nil {
		return nil, err
	}
	bare, err := s.bareRefused(ctx, name+"/raw/")
	if err != nil {
		return nil, err
	}
	return []perf.Side{
		{Name: conclave, Round: s.asking(ours)},
		{Name: official, Lacks: "does not say who holds it; a key put and deleted, of which every waiter hears; Unlock checks nothing", Round: s.asking(theirs)},
		{Name: raw + " guarded", Lacks: excludesNone, Round: s.asking(bare)},
	}, nil
}

// asking returns a round of calls that are refused.
func (s *stage) asking(call func(context.Context) error) round {
	return func(ctx context.Context) (perf.Samples, error) {
		before, err := s.Writes(ctx)
		if err != nil {
			return nil, err
		}
		took := make([]float64, tryCalls)
		for i := range took {
			began := time.Now()
			if err := call(ctx); err != nil {
				return nil, err
			}
			took[i] = micros(time.Since(began))
		}
		after, err := s.Writes(ctx)
		if err != nil {
			return nil, err
		}
		return perf.Samples{latency().Name: took, "writes": {float64(after-before) / tryCalls}}, nil
	}
}

// errGranted means that a lock was granted to a second holder.
var errGranted = errors.New("it granted it")

// refusal expects an error.
func refusal(got, want error) error {
	if errors.Is(got, want) {
		return nil
	}
	return fmt.Errorf("the lock is held, but TryLock did not say so: %w", cmp.Or(got, errGranted))
}

func (s *stage) oursRefused(ctx context.Context, name string) (func(context.Context) error, error) {
	take, err := s.ours(ctx, name)
	if err != nil {
		return nil, err
	}
	if _, err := take(ctx); err != nil {
		return nil, err
	}
	session, err := s.session(ctx)
	if err != nil {
		return nil, err
	}
	m, err := lock.NewMutex(session, name)
	return func(ctx context.Context) error {
		_, err := m.TryLock(ctx)
		return refusal(err, lock.ErrLocked)
	}, err
}

func (s *stage) theirsRefused(ctx context.Context, name string) (func(context.Context) error, error) {
	take, err := s.theirs(ctx, name)
	if err != nil {
		return nil, err
	}
	if _, err := take(ctx); err != nil {
		return nil, err
	}
	session, err := s.official(ctx)
	if err != nil {
		return nil, err
	}
	m := concurrency.NewMutex(session, name)
	return func(ctx context.Context) error { return refusal(m.TryLock(ctx), concurrency.ErrLocked) }, nil
}

// bareRefused puts a key if no other is there, in one transaction, which reads it
// otherwise.
func (s *stage) bareRefused(ctx context.Context, prefix string) (func(context.Context) error, error) {
	client, err := s.Client(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := client.Put(ctx, prefix+"holder", record); err != nil {
		return nil, err
	}
	s.atEnd(func(ctx context.Context) error {
		_, err := client.Delete(ctx, prefix+"holder")
		return err
	})
	free := clientv3.Compare(clientv3.CreateRevision(prefix), "=", 0).WithPrefix()
	put := clientv3.OpPut(prefix+"other", record)
	oldest := clientv3.OpGet(prefix, append(clientv3.WithFirstCreate(), clientv3.WithPrefix())...)
	return func(ctx context.Context) error {
		resp, err := client.Txn(ctx).If(free).Then(put).Else(oldest).Commit()
		if err == nil && resp.Succeeded {
			return errors.New("raw: nobody was there")
		}
		return err
	}, nil
}
