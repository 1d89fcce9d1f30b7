package locks

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/lock"
)

const (
	crowdWindow = 500 * time.Millisecond
	crowdRounds = 5
	// How many contend for a lock in one process, hold one for reading, and contend
	// for how many permits.
	goroutines = 64
	readers    = 10
	seekers    = 10
	permits    = 3
)

// crowds are the works in which many get a lock, or a share of it, one after the other or
// at once, and nothing but how many of them counts.
func crowds() []perf.Work {
	work := func(name, title string, quick int, sides func(ctx context.Context, s *stage, name string) ([]perf.Side, error)) perf.Work {
		return perf.Work{
			Name: name, Title: title, On: perf.EtcdFast, Metrics: []perf.Metric{throughput()}, Rounds: crowdRounds, Quick: quick,
			Begin: begin(func(ctx context.Context, s *stage) ([]perf.Side, error) { return sides(ctx, s, name) }),
		}
	}
	return []perf.Work{
		work("lock/goroutines", fmt.Sprintf("%d goroutines of one process contend for a lock", goroutines), 1, local),
		work("lock/shared", fmt.Sprintf("%d clients hold a lock for reading", readers), 0, shared),
		work("lock/semaphore", fmt.Sprintf("%d clients contend for %d permits", seekers, permits), 0, semaphore),
	}
}

// crowd returns a round of all contenders, of whom at most so many hold at a time.
func crowd(most int, all []contender) round {
	return func(ctx context.Context) (perf.Samples, error) {
		c := contest{most: most, window: crowdWindow}
		samples, err := c.run(ctx, all)
		return declared(samples, []perf.Metric{throughput()}), err
	}
}

// local returns the sides of a contest within a process.
func local(ctx context.Context, s *stage, name string) ([]perf.Side, error) {
	handing, err := s.ours(ctx, name+"/conclave", lock.WithLocalHandoff(goroutines))
	if err != nil {
		return nil, err
	}
	plain, err := s.ours(ctx, name+"/plain")
	if err != nil {
		return nil, err
	}
	sessions, err := s.officials(ctx, goroutines)
	if err != nil {
		return nil, err
	}
	var theirs []contender
	for _, session := range sessions {
		theirs = append(theirs, mutexOf(session, name+"/official"))
	}
	return []perf.Side{
		{Name: conclave, Round: crowd(1, times(goroutines, handing))},
		{Name: "conclave without local hand-off", Lacks: "hand-overs in memory", Round: crowd(1, times(goroutines, plain))},
		{Name: official, Lacks: "Unlock checks nothing; needs a session, and a lease, for each goroutine", Round: crowd(1, theirs)},
		{Name: raw + " channel", Lacks: "excludes no other process", Round: crowd(1, times(goroutines, channel()))},
	}, nil
}

// channel is the simplest lock in memory that can be waited for with a context.
func channel() contender {
	turn := make(chan struct{}, 1)
	return func(ctx context.Context) (release, error) {
		select {
		case turn <- struct{}{}:
			return func(context.Context) error { <-turn; return nil }, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// bares are n clients that put and delete keys of their own.
func (s *stage) bares(ctx context.Context, name string, n int) ([]contender, error) {
	all := make([]contender, n)
	for i := range all {
		client, err := s.Client(ctx)
		if err != nil {
			return nil, err
		}
		all[i] = bare(client, fmt.Sprintf("%s/raw/%d", name, i))
	}
	return all, nil
}

// shared returns the sides of readers, none of whom excludes another.
func shared(ctx context.Context, s *stage, name string) ([]perf.Side, error) {
	ours, err := several(readers, func() (contender, error) {
		session, err := s.session(ctx)
		if err != nil {
			return nil, err
		}
		m, err := lock.NewRWMutex(session, name+"/conclave")
		if err != nil {
			return nil, err
		}
		return holder(m.RLock), nil
	})
	if err != nil {
		return nil, err
	}
	theirs, err := several(readers, func() (contender, error) {
		session, err := s.official(ctx)
		if err != nil {
			return nil, err
		}
		m := recipe.NewRWMutex(session, name+"/recipe")
		return func(context.Context) (release, error) {
			return func(context.Context) error { return m.RUnlock() }, m.RLock()
		}, nil
	})
	if err != nil {
		return nil, err
	}
	bares, err := s.bares(ctx, name, readers)
	if err != nil {
		return nil, err
	}
	return []perf.Side{
		{Name: conclave, Round: crowd(0, ours)},
		{Name: "etcd recipes", Lacks: "RLock takes no context; RUnlock checks nothing; a new key for each call, which stays until compaction", Round: crowd(0, theirs)},
		{Name: raw, Lacks: excludesNone, Round: crowd(0, bares)},
	}, nil
}

// semaphore returns the sides of a contest for permits.
func semaphore(ctx context.Context, s *stage, name string) ([]perf.Side, error) {
	ours, err := several(seekers, func() (contender, error) {
		session, err := s.session(ctx)
		if err != nil {
			return nil, err
		}
		m, err := lock.NewSemaphore(session, name+"/conclave", permits)
		if err != nil {
			return nil, err
		}
		return holder(func(ctx context.Context) (*lock.Hold, error) { return m.Acquire(ctx, 1) }), nil
	})
	if err != nil {
		return nil, err
	}
	theirs, err := several(seekers, func() (contender, error) { return s.anyOf(ctx, name+"/official") })
	if err != nil {
		return nil, err
	}
	bares, err := s.bares(ctx, name, permits)
	if err != nil {
		return nil, err
	}
	return []perf.Side{
		{Name: conclave, Round: crowd(permits, ours)},
		{Name: official, Lacks: "no semaphore: a mutex for each permit, one of which is waited for though another is free; no order", Round: crowd(permits, theirs)},
		{Name: raw, Lacks: excludesNone, Round: crowd(permits, bares)},
	}, nil
}

// anyOf is what users of the official client make of mutexes who want a semaphore: it takes
// one of them by chance.
func (s *stage) anyOf(ctx context.Context, name string) (contender, error) {
	session, err := s.official(ctx)
	if err != nil {
		return nil, err
	}
	var all []contender
	for i := range permits {
		all = append(all, mutexOf(session, fmt.Sprintf("%s/%d", name, i)))
	}
	return func(ctx context.Context) (release, error) {
		return all[rand.IntN(len(all))](ctx) //nolint:gosec // chance will do
	}, nil
}
