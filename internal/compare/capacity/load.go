package capacity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// The loads.
const (
	sessionLoad  = "session"
	processLoad  = "session with client"
	holdLoad     = "hold"
	waiterLoad   = "waiter"
	strangerLoad = "waiter of another session"
	keyLoad      = "cache key"
	observerLoad = "observer"
	watcherLoad  = "observer with client"
)

// load is something of which there can be many.
type load struct {
	name    string
	largest int
	// begin makes ready what the load needs but is not part of.
	begin func(ctx context.Context, r *rig) (crowd, error)
	// probed says what the crowd's probe is, if it has one.
	probed string
}

// crowd is a number of them.
type crowd struct {
	// add adds the i-th. It is called by several goroutines.
	add func(ctx context.Context, i int) error
	// ready returns when all of them are as they will stay; nil if they are once added.
	ready func(ctx context.Context) error
	// probe does something beside them, of which it says how long it took.
	probe func(ctx context.Context) (time.Duration, error)
	// end ends what the rig does not know of, after the sessions were closed; nil if there
	// is nothing.
	end func(ctx context.Context) error
}

// quantity is a cost of a load.
type quantity struct {
	name, unit string
	// of makes the cost of two samples between which nothing was done.
	of func(before, after sample) float64
}

// level is the cost of what is there, rate of what goes on.
func level(name, unit string, of func(sample) float64) quantity {
	return quantity{name, unit, func(_, after sample) float64 { return of(after) }}
}

func rate(name, unit string, of func(sample) float64) quantity {
	return quantity{name, unit, func(before, after sample) float64 {
		return (of(after) - of(before)) / after.at.Sub(before.at).Seconds()
	}}
}

// The quantities that models are made of.
const (
	ClientMemory = "client memory"
	Goroutines   = "goroutines"
	Requests     = "requests"
	Traffic      = "traffic"
	ClientCPU    = "client CPU"
	ServerMemory = "server memory"
	ServerCPU    = "server CPU"
	Store        = "store"
	Entries      = "log entries"
	WAL          = "WAL"
)

// atRest are the costs while nothing is asked for.
func atRest() []quantity {
	return []quantity{
		level(ClientMemory, "B", func(s sample) float64 { return s.memory }),
		level(Goroutines, "", func(s sample) float64 { return s.goroutines }),
		rate(Requests, "1/s", func(s sample) float64 { return s.requests }),
		rate(Traffic, "B/s", func(s sample) float64 { return s.traffic }),
		rate(ClientCPU, "ms/s", func(s sample) float64 { return milli * s.ownCPU }),
		level(ServerMemory, "B", func(s sample) float64 { return s.rss }),
		rate(ServerCPU, "ms/s", func(s sample) float64 { return milli * s.cpu }),
		level(Store, "B", func(s sample) float64 { return s.store }),
		rate(Entries, "1/s", func(s sample) float64 { return s.entries }),
		rate(WAL, "B/s", func(s sample) float64 { return s.wal }),
	}
}

// milli makes milliseconds of seconds.
const milli = 1e3

// What adding one costs.
const (
	AddRevisions = "revisions to add"
	AddEntries   = "log entries to add"
	AddWAL       = "WAL to add"
	AddTime      = "time to add"
	AddClientCPU = "client CPU to add"
	AddServerCPU = "server CPU to add"
)

// rows measures the load at all its sizes.
func (l load) rows(ctx context.Context, cfg Config) (rows []Row, err error) {
	r, err := start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	var c crowd
	defer func() {
		errs := []error{err, r.closeSessions(ctx)}
		if c.end != nil {
			errs = append(errs, c.end(context.WithoutCancel(ctx)))
		}
		err = errors.Join(append(errs, r.close(ctx))...)
	}()
	if c, err = l.begin(ctx, r); err != nil {
		return nil, err
	}
	none, err := r.rest(ctx)
	if err != nil {
		return nil, err
	}
	rows = l.costs(0, none, none)
	from := 0
	for _, n := range sizes(l.largest) {
		cfg.tell("  %s", thousands(float64(n)))
		more, err := l.measure(ctx, r, c, none, from, n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", thousands(float64(n)), err)
		}
		rows = append(rows, more...)
		if lost := r.lost.Load(); lost > 0 {
			cfg.tell("  %d sessions were lost: that is too much for this machine", lost)
			break
		}
		from = n
	}
	return rows, nil
}

// measure lets the load grow to n and says what that and n of it cost. If sessions are
// lost it only says how many, since what is left is not what n cost.
func (l load) measure(ctx context.Context, r *rig, c crowd, none interval, from, n int) ([]Row, error) {
	rows, err := l.grow(ctx, r, c, from, n)
	if err != nil {
		return nil, err
	}
	some, err := r.rest(ctx)
	if err != nil {
		return nil, err
	}
	beside, err := l.probe(ctx, r, c, n)
	if lost := r.lost.Load(); lost > 0 {
		return []Row{{Loads, l.name, n, LostCount, "", float64(lost)}}, nil
	}
	return slices.Concat(rows, l.costs(n, none, some), beside), err
}

// grow lets the load grow and says what that cost.
func (l load) grow(ctx context.Context, r *rig, c crowd, from, to int) ([]Row, error) {
	before, err := r.take(ctx)
	if err != nil {
		return nil, err
	}
	took, err := each(ctx, from, to, c.add)
	if err == nil && c.ready != nil {
		err = c.ready(ctx)
	}
	if err != nil {
		return nil, err
	}
	spent := ownCPU() - before.ownCPU
	after, err := r.take(ctx)
	if err != nil {
		return nil, err
	}
	var sum time.Duration
	for _, t := range took {
		sum += t
	}
	added := float64(to - from)
	row := func(quantity, unit string, value float64) Row {
		return Row{Loads, l.name, to, quantity, unit, value / added}
	}
	return []Row{
		row(AddTime, "ms", milliseconds(sum)),
		row(AddRevisions, "", after.revision-before.revision),
		row(AddEntries, "", after.entries-before.entries),
		row(AddWAL, "B", after.wal-before.wal),
		row(AddClientCPU, "ms", milli*spent),
		row(AddServerCPU, "ms", milli*(after.cpu-before.cpu)),
	}, nil
}

// costs returns what n cost beyond none.
func (l load) costs(n int, none, some interval) []Row {
	var rows []Row
	for _, q := range atRest() {
		value := q.of(some.before, some.after) - q.of(none.before, none.after)
		rows = append(rows, Row{Loads, l.name, n, q.name, q.unit, value})
	}
	return rows
}

// probe says what the crowd's probe takes.
func (l load) probe(ctx context.Context, r *rig, c crowd, n int) ([]Row, error) {
	if c.probe == nil {
		return nil, nil
	}
	took := make([]time.Duration, r.cfg.Probes)
	for i := range took {
		var err error
		if took[i], err = c.probe(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", l.probed, err)
		}
	}
	return []Row{
		{Loads, l.name, n, l.probed + ", mean", "ms", milliseconds(mean(took))},
		{Loads, l.name, n, l.probed + ", p99", "ms", milliseconds(percentile(took, 99))},
	}, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
