package shards

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/pairs"
)

// cleanUp bounds the end of a round.
const cleanUp = time.Minute

// size is how many there are, at first.
type size struct{ shards, members int }

func (s size) String() string { return fmt.Sprintf("%d shards of %d members", s.shards, s.members) }

// Works returns the works.
func Works() (all []perf.Work) {
	for _, w := range []struct {
		size
		rounds, quick int
	}{{size{100, 3}, 5, 1}, {size{1000, 3}, 2, 0}, {size{1000, 9}, 1, 0}, {size{10_000, 3}, 1, 0}} {
		all = append(all, rebalance(w.size, w.rounds, w.quick))
	}
	return append(all, crash(size{100, 3}, 3, 1), crash(size{1000, 3}, 1, 0), crash(size{10_000, 3}, 1, 0))
}

// rebalance is that a member joins and another leaves.
func rebalance(s size, rounds, quick int) perf.Work {
	return perf.Work{
		Name: fmt.Sprintf("shards/rebalance/%dx%d", s.shards, s.members), Title: s.String() + ": another joins, and the first leaves in order",
		On: perf.EtcdFast,
		Metrics: []perf.Metric{
			{Name: "unowned", Unit: "ms", Stats: []perf.Stat{perf.P50, perf.P99}},
			{Name: "time to balance", Unit: "ms", Stats: []perf.Stat{perf.Mean}},
			{Name: "moves", Unit: "of the optimum", Stats: []perf.Stat{perf.Mean}},
			{Name: "two owners", Unit: "ms", Stats: []perf.Stat{perf.Mean}},
		},
		Rounds: rounds, Quick: quick,
		Begin: begin(s, func(ctx context.Context, r *round) error {
			return errors.Join(r.change(ctx, r.join), r.change(ctx, r.leaveFirst))
		}),
	}
}

// crash is that a member is cut off.
func crash(s size, rounds, quick int) perf.Work {
	return perf.Work{
		Name: fmt.Sprintf("shards/crash/%dx%d", s.shards, s.members), Title: s.String() + ", TTL 3 s: one is cut off from etcd",
		On: perf.EtcdFast,
		Metrics: []perf.Metric{
			{Name: "all owned", Unit: "ms", Stats: []perf.Stat{perf.Mean}},
			{Name: "two owners", Unit: "ms", Stats: []perf.Stat{perf.Mean}},
		},
		Rounds: rounds, Quick: quick,
		Begin: begin(s, func(ctx context.Context, r *round) error { return r.cutOff(ctx) }),
	}
}

// begin has each way do a round with a new group.
func begin(s size, do func(ctx context.Context, r *round) error) func(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
	return func(_ context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
		run := rand.Uint32()
		var sides []perf.Side
		for i, w := range ways() {
			if s.shards > w.most {
				continue
			}
			rounds := 0
			sides = append(sides, perf.Side{Name: w.name, Lacks: w.lacks, Round: func(ctx context.Context) (_ perf.Samples, err error) {
				rounds++
				r := &round{way: w, env: on, samples: perf.Samples{}, party: party{
					name: fmt.Sprintf("shards-%08x-%d-%d", run, i, rounds), shards: s.shards, book: newBook(s.shards),
				}}
				defer func() { err = errors.Join(err, r.end(ctx)) }()
				if err := r.open(ctx, s.members); err != nil {
					return nil, err
				}
				return r.samples, do(ctx, r)
			}})
		}
		return sides, func() error { return nil }, nil
	}
}

// seat is a member.
type seat struct {
	name      string
	leave     func(ctx context.Context) error
	cut, mend func()
	close     func() error
}

// round is a group, from its first member to its last.
type round struct {
	way
	party

	env     *perf.Env
	seats   []seat
	samples perf.Samples
}

// open has so many members share the shards.
func (r *round) open(ctx context.Context, members int) error {
	for range members {
		if err := r.join(ctx); err != nil {
			return err
		}
	}
	_, err := r.book.settle(ctx)
	return err
}

// join has one more member.
func (r *round) join(ctx context.Context) error {
	client, cut, mend, err := r.env.Partitioned(ctx)
	if err != nil {
		return err
	}
	s := seat{name: fmt.Sprintf("m%d", len(r.seats)+1), cut: cut, mend: mend, close: client.Close}
	if s.leave, err = r.way.join(ctx, &r.party, client, s.name); err != nil {
		return errors.Join(err, client.Close())
	}
	r.seats = append(r.seats, s)
	return nil
}

// leaveFirst has the first member leave in order.
func (r *round) leaveFirst(ctx context.Context) error {
	s := r.seats[0]
	r.seats = r.seats[1:]
	return errors.Join(s.leave(ctx), s.close())
}

// change has a member join or leave, and measures what that does.
func (r *round) change(ctx context.Context, do func(ctx context.Context) error) error {
	before, had, began := r.book.owners(), len(r.seats), time.Now()
	first := r.seats[0].name
	if err := do(ctx); err != nil {
		return err
	}
	settled, err := r.book.settle(ctx)
	if err != nil {
		return err
	}
	moves := r.book.since(began, before)
	best := r.shards / (had + 1)
	if len(r.seats) < had {
		best = count(before, first)
	}
	r.add("moves", float64(len(moves))/float64(best))
	r.add("time to balance", pairs.Millis(settled.Sub(began)))
	twice := time.Duration(0)
	for _, m := range moves {
		r.add("unowned", pairs.Millis(max(m.gap, 0)))
		twice += max(-m.gap, 0)
	}
	r.add("two owners", pairs.Millis(twice)/float64(max(len(moves), 1)))
	return nil
}

// cutOff cuts the last member off, for as long as it takes until the others have its
// shards.
func (r *round) cutOff(ctx context.Context) error {
	s := r.seats[len(r.seats)-1]
	before, began := r.book.owners(), time.Now()
	s.cut()
	r.book.disown(s.name)
	settled, err := r.book.settle(ctx)
	moves := r.book.since(began, before)
	s.mend()
	if err != nil {
		return err
	}
	r.add("all owned", pairs.Millis(settled.Sub(began)))
	twice := time.Duration(0)
	for _, m := range moves {
		twice += max(-m.gap, 0)
	}
	r.add("two owners", pairs.Millis(twice)/float64(max(len(moves), 1)))
	return nil
}

func (r *round) add(metric string, value float64) {
	r.samples[metric] = append(r.samples[metric], value)
}

// end has all members leave at once, and removes what is for good.
func (r *round) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	errs := make([]error, len(r.seats)+1)
	var all sync.WaitGroup
	for i, s := range r.seats {
		all.Go(func() { errs[i] = errors.Join(s.leave(ctx), s.close()) })
	}
	all.Wait()
	errs[len(r.seats)] = r.remove(ctx)
	return errors.Join(errs...)
}

// remove removes the group's keys: some are for good, of Conclave the number of shards and
// the plan, of client-go the Leases.
func (r *round) remove(ctx context.Context) error {
	client, err := r.env.Client(ctx)
	if err != nil {
		return err
	}
	_, err = client.Delete(ctx, r.party.name+"/", clientv3.WithPrefix())
	return errors.Join(err, client.Close())
}

func count(all []string, one string) (n int) {
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}
