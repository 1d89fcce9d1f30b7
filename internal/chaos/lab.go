package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/internal/servers"
)

// Config is how a schedule is run.
type Config struct {
	Schedule Schedule
	// Parallel is how many scenarios are played at once; waiting takes most of the time.
	Parallel int
	// Progress is told what happens; nil is for nobody. It is called by several
	// goroutines.
	Progress func(Progress)
}

// Progress is something that happened in a scenario.
type Progress struct {
	Scenario string
	Text     string
	// Cells are the verdicts, once it is over.
	Cells []Cell
}

// Counts are how often there was what.
type Counts struct {
	Partitions int `json:"partitions"`
	Pauses     int `json:"pauses"`
	Others     int `json:"others"`
}

// Add adds those of another run.
func (c *Counts) Add(o Counts) {
	c.Partitions += o.Partitions
	c.Pauses += o.Pauses
	c.Others += o.Others
}

func (c *Counts) add(k class) {
	switch k {
	case partition:
		c.Partitions++
	case pausing:
		c.Pauses++
	default:
		c.Others++
	}
}

// Report is what a run found.
type Report struct {
	Schedule Schedule      `json:"schedule"`
	Began    time.Time     `json:"began"`
	Took     time.Duration `json:"took"`
	// Machine and Versions say on what.
	Machine  string            `json:"machine"`
	Versions map[string]string `json:"versions"`
	Cells    []Cell            `json:"cells"`
	Controls []Control         `json:"controls"`
	// Ours counts faults that hit this library's locks on etcd, All those of any.
	Ours Counts `json:"ours"`
	All  Counts `json:"all"`
	// Late is by how much the machine was late in all.
	Late time.Duration `json:"late"`
	// Recoveries are the times of L of this library's locks on etcd, sorted.
	Recoveries []time.Duration `json:"-"`
}

// lab is one run.
type lab struct {
	Config

	resource *resource
	shared   *arena // of scenarios that break no servers
	late     lateness

	mu     sync.Mutex
	report *Report
}

// Run plays a schedule. The error is about what kept the lab from working; what it
// found is in the report, which comes with an error, too.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if !canPause() {
		return nil, errors.New("chaos: processes cannot be stopped on this system")
	}
	l := &lab{Config: cfg, report: &Report{Schedule: cfg.Schedule, Began: time.Now(), Machine: machine(), Versions: versions(ctx)}}
	var err error
	if l.resource, err = startResource(ctx); err != nil {
		return l.report, err
	}
	l.shared = newArena(l.resource, Entry{})
	var watching sync.WaitGroup
	beating, stop := context.WithCancel(ctx)
	watching.Go(func() { l.late.watch(beating) })
	err = l.playAll(ctx)
	stop()
	watching.Wait()
	err = errors.Join(err, l.shared.close(), l.resource.close())
	return l.finish(), err
}

// playAll plays all entries, so many at once.
func (l *lab) playAll(ctx context.Context) error {
	slots := make(chan struct{}, max(1, l.Parallel))
	entries := l.Schedule.Entries
	// The longest first, so that none is left over at the end.
	order := slices.SortedStableFunc(indices(len(entries)), func(i, j int) int {
		return int(entries[j].length() - entries[i].length())
	})
	return together(len(order), func(i int) error {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return l.play(ctx, entries[order[i]])
	})
}

// length is about how long an entry takes.
func (e Entry) length() (d time.Duration) {
	for _, s := range e.Steps {
		d += s.For
	}
	return d
}

func indices(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// play plays one entry and judges what came of it.
func (l *lab) play(ctx context.Context, e Entry) error {
	say := func(text string) { l.tell(Progress{Scenario: e.Scenario, Text: text}) }
	if why := missing(e); why != "" {
		l.judged(e, l.skipAll(e, why))
		return nil
	}
	a := l.shared
	if e.server() {
		a = newArena(l.resource, e)
	}
	b := &bout{entry: e, named: l.Schedule.named, arena: a, say: say, count: l.count}
	say("starting")
	err := b.open(ctx, l.Schedule.Seed)
	if err == nil {
		err = b.play(ctx)
	}
	err = errors.Join(err, together(len(b.trials), func(i int) error { return b.trials[i].finish(ctx) }))
	if a != l.shared {
		err = errors.Join(err, a.close())
	}
	if err == nil {
		l.judged(e, b.judge(l.late.between))
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("chaos: %s: %w", e.Scenario, err)
}

// judge judges all trials.
func (b *bout) judge(late func(from, to int64) time.Duration) []Cell {
	cells := make([]Cell, len(b.trials))
	for i, t := range b.trials {
		cells[i] = judge(b.entry, t.System, t.log.Events(), late)
	}
	return cells
}

func (l *lab) tell(p Progress) {
	if l.Progress != nil {
		l.Progress(p)
	}
}

// count notes a fault that hit a system.
func (l *lab) count(s System, c class) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.All.add(c)
	if s.ours() {
		l.report.Ours.add(c)
	}
}

func (l *lab) judged(e Entry, cells []Cell) {
	l.mu.Lock()
	l.report.Cells = append(l.report.Cells, cells...)
	l.mu.Unlock()
	l.tell(Progress{Scenario: e.Scenario, Text: "over", Cells: cells})
}

func (l *lab) skipAll(e Entry, why string) (cells []Cell) {
	for _, name := range e.Systems {
		if s, ok := l.Schedule.named(name); ok {
			cells = append(cells, skip(e, s, why))
		}
	}
	return cells
}

// missing says what this machine lacks for an entry; "" for nothing.
func missing(e Entry) string {
	if e.Etcd != "" {
		if _, err := servers.Binary(e.Etcd); err != nil {
			return err.Error()
		}
	}
	if !servers.HasRedis() && (e.Replica || e.has(stopNode)) {
		return "needs redis-server"
	}
	return ""
}

// finish completes the report.
func (l *lab) finish() *Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.report
	r.Took, r.Late = time.Since(r.Began), l.late.between(0, history.Open)
	r.Controls = catch(r.Cells)
	for _, c := range r.Cells {
		if s, ok := r.Schedule.named(c.System); ok && s.ours() && !s.Delay {
			r.Recoveries = append(r.Recoveries, c.Result.Recoveries...)
		}
	}
	slices.Sort(r.Recoveries)
	return r
}

// Failed says why the run is no success: promises that were broken, and controls that
// were not caught. It is nil if there is nothing.
func (r *Report) Failed() error {
	var errs []error
	for _, c := range r.Cells {
		if c.Verdict == Broken {
			errs = append(errs, fmt.Errorf("chaos: %s in %s is broken: %s", c.System, c.Scenario, c.Why))
		}
	}
	for _, c := range r.Controls {
		if !c.Caught && !c.Skipped {
			errs = append(errs, fmt.Errorf("chaos: control not caught: %s", c.Name))
		}
	}
	return errors.Join(errs...)
}

// Unproven says what was skipped, which is a failure where everything is installed. It is
// nil if there is nothing.
func (r *Report) Unproven() error {
	var errs []error
	for _, c := range r.Cells {
		if c.Verdict == Skipped {
			errs = append(errs, fmt.Errorf("chaos: %s in %s was skipped: %s", c.System, c.Scenario, c.Why))
		}
	}
	for _, c := range r.Controls {
		if c.Skipped {
			errs = append(errs, fmt.Errorf("chaos: control not proven: %s", c.Name))
		}
	}
	return errors.Join(errs...)
}
