package partitions

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/pairs"
)

const (
	// inParallel is how many partitions there are at once, with a server that is idle.
	inParallel, quickInParallel = 25, 3
	// expiryTick is how often etcd looks for leases that have expired.
	expiryTick = 500 * time.Millisecond
	// cleanUp bounds what is done when a partition is over.
	cleanUp = 10 * time.Second
)

// errEarly is what a busy machine does to leases as short as these.
var errEarly = errors.New("partitions: the lock was lost before its holder was cut off")

// Works returns the works.
func Works() []perf.Work { return []perf.Work{told()} }

func told() perf.Work {
	return perf.Work{
		Name:  "partition/told",
		Title: "a holder is cut off: from its being told of the loss to its successor's grant, with a TTL of 3 s",
		On:    perf.EtcdFast,
		Metrics: []perf.Metric{
			{Name: "margin", Unit: "ms", Stats: []perf.Stat{perf.P50}, More: true},
			{Name: "two holders", Unit: "%", Stats: []perf.Stat{perf.Mean}},
			{Name: "overlap", Unit: "ms", Stats: []perf.Stat{perf.P90}},
			{Name: "succession", Unit: "ms", Stats: []perf.Stat{perf.P50, perf.P90}},
		},
		Rounds: 2,
		Begin:  begin,
	}
}

func begin(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
	n := inParallel
	if on.Quick {
		n = quickInParallel
	}
	run := rand.Uint32()
	var sides []perf.Side
	for _, l := range libraries() {
		seats, err := pairs.Seats(ctx, on, n)
		if err != nil {
			return nil, nil, err
		}
		rounds := 0
		sides = append(sides, perf.Side{Name: l.name, Lacks: l.lacks, Round: func(ctx context.Context) (perf.Samples, error) {
			rounds++
			parted, err := l.round(ctx, seats, fmt.Sprintf("partitions-%08x-%s-%d", run, l.name, rounds))
			return samples(parted), err
		}})
	}
	return sides, func() error { return nil }, nil
}

// parting is what became of a lock whose holder was cut off.
type parting struct{ cut, told, granted time.Time }

func samples(all []parting) perf.Samples {
	s := perf.Samples{}
	add := func(metric string, value float64) { s[metric] = append(s[metric], value) }
	for _, p := range all {
		margin := pairs.Millis(p.granted.Sub(p.told))
		add("margin", margin)
		add("overlap", max(-margin, 0))
		add("succession", pairs.Millis(p.granted.Sub(p.cut)))
		if margin < 0 {
			add("two holders", 100)
		} else {
			add("two holders", 0)
		}
	}
	return s
}

// round cuts off a holder in each of the seats. Neither the locks are taken in step with
// the server's looking for expired leases, nor are the cuts made in step with renewals.
func (l library) round(ctx context.Context, seats []pairs.Seat, name string) ([]parting, error) {
	all := make([]parting, len(seats))
	err := pairs.Each(ctx, seats, func(ctx context.Context, i int, s pairs.Seat) (err error) {
		if err := pairs.Pause(ctx, rand.N(expiryTick)); err != nil {
			return err
		}
		all[i], err = l.part(ctx, s, fmt.Sprintf("%s-%d", name, i), pairs.Spread(ttl, i, len(seats)))
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// part cuts off the holder of a lock for which another waits, after a while.
func (l library) part(ctx context.Context, s pairs.Seat, name string, after time.Duration) (p parting, err error) {
	holder, err := l.join(ctx, s.First, name)
	if err != nil {
		return p, err
	}
	defer leave(ctx, holder, &err)
	defer s.Mend()
	lost, err := holder.lock(ctx)
	if err != nil {
		return p, err
	}
	waiter, err := l.join(ctx, s.Second, name)
	if err != nil {
		return p, err
	}
	defer leave(ctx, waiter, &err)
	err = waiter.whileWaiting(ctx, func(ctx context.Context, granted <-chan grant) error {
		if err := errors.Join(pairs.Queued(ctx, s.Second, name), pairs.Pause(ctx, after)); err != nil {
			return err
		}
		select {
		case <-lost:
			return errEarly
		default:
		}
		s.Cut()
		p.cut = time.Now()
		select {
		case <-lost:
			p.told = time.Now()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		g := <-granted // at the latest when ctx ends
		p.granted = g.at
		return g.err
	})
	return p, err
}

// grant is the return of Lock.
type grant struct {
	at  time.Time
	err error
}

// whileWaiting calls fn while the contender waits for the lock. It returns when both have
// returned; the contender waits no longer than fn runs.
func (c contender) whileWaiting(ctx context.Context, fn func(ctx context.Context, granted <-chan grant) error) error {
	ctx, cancel := context.WithCancel(ctx)
	granted, ended := make(chan grant, 1), make(chan struct{})
	go func() {
		defer close(ended)
		_, err := c.lock(ctx)
		granted <- grant{time.Now(), err}
	}()
	err := fn(ctx, granted)
	cancel()
	<-ended
	return err
}

// leave ends a contender and adds what went wrong to err.
func leave(ctx context.Context, c contender, err *error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	*err = errors.Join(*err, c.leave(ctx))
}
