package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/conclave-go/conclave/examples/internal/report"
	"github.com/conclave-go/conclave/internal/chaos"
)

// errBroken ends the program when the lab failed; what it is about has been printed.
var errBroken = errors.New("the lab failed, see above")

// runner plays what the command line asked for.
type runner struct {
	options

	out     *os.File
	end     context.CancelCauseFunc
	command string
}

// play plays the schedule, or a soak. There is no report if nothing was over.
func (r *runner) play(ctx context.Context) (*chaos.Report, error) {
	v := newView(r)
	defer v.close()
	if r.duration > 0 {
		return r.soak(ctx, v)
	}
	what := "scenarios"
	if len(r.schedule.Entries) == 1 {
		what = "scenario"
	}
	v.title("%d %s, seed %d", len(r.schedule.Entries), what, r.schedule.Seed)
	if r.save != "" {
		if err := r.schedule.Save(r.save); err != nil {
			return nil, err
		}
	}
	return r.once(ctx, r.schedule, v)
}

func (r *runner) once(ctx context.Context, s chaos.Schedule, v *view) (*chaos.Report, error) {
	return chaos.Run(ctx, chaos.Config{Schedule: s, Parallel: r.parallel, Progress: v.progress})
}

// soak plays random compositions until the time is over or a promise is broken. The
// report is that of the last round, with the counts of all.
func (r *runner) soak(ctx context.Context, v *view) (last *chaos.Report, err error) {
	var ours, all chaos.Counts
	began := time.Now()
	for round := 1; time.Since(began) < r.duration; round++ {
		v.title("round %d, seed %d", round, r.seed)
		last, err = r.once(ctx, chaos.Compose(r.seed, round, r.ttl, r.rounds), v)
		if last != nil {
			ours.Add(last.Ours)
			all.Add(last.All)
			last.Ours, last.All, last.Took = ours, all, time.Since(began)
		}
		if err != nil {
			return last, err
		}
		if s, broken := last.Replay(); broken {
			return last, r.keep(s, last)
		}
	}
	return last, nil
}

// keep writes down what it takes to play a round again that broke a promise.
func (r *runner) keep(s chaos.Schedule, found *chaos.Report) error {
	name := fmt.Sprintf("chaos-%d", r.seed)
	if err := s.Save(name + ".json"); err != nil {
		return err
	}
	f, err := os.Create(name + ".jsonl")
	if err != nil {
		return err
	}
	if err := errors.Join(found.WriteHistory(f), f.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.out, "\nPlay it again: -replay %s.json. What happened is in %s.jsonl.\n", name, name)
	return err
}

// conclude prints and writes what was found.
func (r *runner) conclude(found *chaos.Report, page *report.File, events *os.File) error {
	_, err := fmt.Fprint(r.out, "\n"+found.Text())
	err = errors.Join(err, found.WriteHistory(events), page.Save(found.Page(r.command), r.out))
	if r.document != "" {
		err = errors.Join(err, found.Document(r.document, r.command))
	}
	failed := found.Failed()
	if r.required {
		failed = errors.Join(failed, found.Unproven())
	}
	if failed != nil && err == nil {
		return fmt.Errorf("%w\n%w", errBroken, failed)
	}
	return err
}
