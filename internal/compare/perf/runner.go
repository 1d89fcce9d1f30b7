package perf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"
)

// workTimeout bounds a work, so that one that hangs does not take the rest with it.
const workTimeout = 5 * time.Minute

// Runner measures works one after the other.
type Runner struct {
	// Quick lets works have their quick rounds, and leaves out those without.
	Quick bool
	// Progress is told what happens, Tables what is measured.
	Progress, Tables io.Writer
}

// Run is what has been measured.
type Run struct {
	Figures []Figure
	Samples []Sample
}

// Select returns the works that a run includes: those whose name, "lock/uncontended on
// etcd-fast", the expression matches. A quick run leaves out those without quick rounds.
func (r Runner) Select(all []Work, only *regexp.Regexp) (some []Work) {
	for _, w := range all {
		if only.MatchString(w.ID()) && (!r.Quick || w.Quick > 0) {
			some = append(some, w)
		}
	}
	return some
}

// Measure does the works. Those that fail, or cannot be done for want of a server, are
// reported and left out; the error has what failed. It returns early only when ctx ends.
func (r Runner) Measure(ctx context.Context, works []Work) (run Run, err error) {
	var pool Pool
	defer func() { err = errors.Join(err, pool.Close()) }()
	began := time.Now()
	var failed []error
	for i, w := range works {
		if err := pool.keep(works[i:]); err != nil {
			return run, err
		}
		r.progress("[%d/%d] %s", i+1, len(works), w.ID())
		m, err := r.measure(ctx, &pool, w)
		switch {
		case ctx.Err() != nil:
			return run, errors.Join(append(failed, context.Cause(ctx))...)
		case errors.Is(err, ErrNoRedis):
			r.progress("  left out: %v", err)
		case err != nil:
			r.progress("  FAILED: %v", err)
			failed = append(failed, err)
		default:
			figures := m.Figures()
			run.Figures = append(run.Figures, figures...)
			run.Samples = append(run.Samples, m.Incidents()...)
			if err := WriteTable(r.Tables, fmt.Sprintf("%s: %s", w.ID(), w.Title), figures); err != nil {
				return run, err
			}
			r.progress("  %d rounds of %d sides in %s; %s", len(m.Rounds), len(m.Sides), round(m.Took), remaining(began, i+1, len(works)))
		}
	}
	return run, errors.Join(failed...)
}

// measure measures a work, for a while at most.
func (r Runner) measure(ctx context.Context, p *Pool, w Work) (*Measured, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, workTimeout, fmt.Errorf("not done after %s", workTimeout))
	defer cancel()
	return r.One(ctx, p, w)
}

func (r Runner) progress(format string, args ...any) {
	_, _ = fmt.Fprintf(r.Progress, format+"\n", args...)
}

// remaining says how long it has taken and how much longer it may, if the works that are
// left take as long as the others did on average.
func remaining(began time.Time, done, all int) string {
	took := time.Since(began)
	left := time.Duration(float64(took) / float64(done) * float64(all-done))
	return fmt.Sprintf("%s so far, about %s left", round(took), round(left))
}

func round(d time.Duration) time.Duration {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}
