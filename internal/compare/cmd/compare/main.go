package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/process"
)

func main() {
	process.Main(perf.Roles())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], works(), os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	only                       *regexp.Regexp
	quick, list, check, charts bool
	out                        string
	temporary                  bool // out is removed at the end
	stdout, stderr             io.Writer
}

func parse(args []string, stdout, stderr io.Writer) (o options, err error) {
	o.stdout, o.stderr = stdout, stderr
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("only", "", "do works whose name, as -list gives it, matches this `regexp`")
	flags.BoolVar(&o.quick, "quick", false, "do a few rounds of the short works; record them in -out only if that is given")
	flags.BoolVar(&o.list, "list", false, "list works")
	flags.BoolVar(&o.check, "check", false, "compare with the recorded ratios and record nothing")
	flags.BoolVar(&o.charts, "charts", false, "redraw charts and tables from the recorded figures, without measuring")
	flags.StringVar(&o.out, "out", "", "`folder` of the records (default docs/performance)")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("compare: %q: want flags only, see -h", flags.Args())
	}
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("compare: -only: %w", err)
	}
	return o, nil
}

func run(ctx context.Context, args []string, all []perf.Work, stdout, stderr io.Writer) error {
	o, err := parse(args, stdout, stderr)
	if err != nil {
		return err
	}
	some := o.runner().Select(all, o.only)
	if len(some) == 0 {
		return fmt.Errorf("compare: -only %q: matches no work, see -list", o.only)
	}
	if o.list {
		return o.lists(some)
	}
	o.temporary = o.quick && !o.check && o.out == ""
	if o.temporary { // it still has to be possible to record and draw what was measured
		if o.out, err = os.MkdirTemp("", "conclave-compare-"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(o.out) }()
	}
	if o.out == "" {
		if o.out, err = folder(); err != nil {
			return err
		}
	}
	switch {
	case o.charts:
		return o.redraw()
	case o.check:
		return o.compare(ctx, some)
	default:
		return o.measure(ctx, some)
	}
}

// lists lists works.
func (o options) lists(some []perf.Work) error {
	for _, w := range some {
		if _, err := fmt.Fprintf(o.stdout, "%-36s %3d rounds, quick %d  %s\n", w.ID(), w.Rounds, w.Quick, w.Title); err != nil {
			return err
		}
	}
	return nil
}

// measure measures works and records what could be measured, beside works recorded
// earlier if only some are measured.
func (o options) measure(ctx context.Context, some []perf.Work) error {
	m, err := o.machine(ctx)
	if err != nil {
		return err
	}
	var before records
	if o.only.String() != "" {
		if before, err = load(o.out); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err == nil && !before.machine.Same(m) {
			return fmt.Errorf("compare: %s has figures of another machine: %s; measure all works, or use -out", o.out, before.machine)
		}
	}
	measured, failed := o.runner().Measure(ctx, some)
	if ctx.Err() != nil && failed != nil {
		return fmt.Errorf("compare: nothing is recorded: %w", failed)
	}
	if len(measured.Figures) == 0 {
		return errors.Join(errors.New("compare: nothing was measured"), failed)
	}
	now := records{perf.Merge(before.figures, measured.Figures), perf.MergeSamples(before.samples, measured.Samples), m}
	if err := now.save(o.out); err != nil {
		return errors.Join(err, failed)
	}
	if !o.temporary {
		_, _ = fmt.Fprintf(o.stderr, "recorded in %s\n", o.out)
	}
	return failed
}

// compare measures works that are recorded and fails if a ratio is far below.
func (o options) compare(ctx context.Context, some []perf.Work) error {
	recorded, err := load(o.out)
	if err != nil {
		return err
	}
	m, err := o.machine(ctx)
	if err != nil {
		return err
	}
	if !recorded.machine.Same(m) {
		_, _ = fmt.Fprintf(o.stderr, "recorded on another machine: %s\n", recorded.machine)
	}
	regressions, failed := perf.Check(recorded.figures, some, func(some []perf.Work) ([]perf.Figure, error) {
		run, err := o.runner().Measure(ctx, some)
		return run.Figures, err
	})
	for _, r := range regressions {
		failed = errors.Join(failed, fmt.Errorf("REGRESSED, twice: %s", r))
	}
	if failed == nil {
		_, _ = fmt.Fprintf(o.stderr, "no ratio is below %.0f %% of the recorded one\n", 100*perf.Tolerated)
	}
	return failed
}

// machine says what a run is on.
func (o options) machine(ctx context.Context) (perf.Machine, error) {
	m, err := perf.ThisMachine(ctx, time.Now())
	if err == nil {
		_, _ = fmt.Fprintln(o.stderr, m)
	}
	return m, err
}

func (o options) runner() perf.Runner {
	return perf.Runner{Quick: o.quick, Progress: o.stderr, Tables: o.stdout}
}

// redraw makes charts and tables of what is recorded.
func (o options) redraw() error {
	r, err := load(o.out)
	if err != nil {
		return err
	}
	return r.save(o.out)
}
