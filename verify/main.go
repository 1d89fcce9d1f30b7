package main

import (
	"context"
	"embed"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

//go:embed models/*.pml
var models embed.FS

func main() {
	var o options
	flag.BoolVar(&o.large, "large", false, "larger bounds as well")
	flag.BoolVar(&o.verbose, "v", false, "print a line for each run")
	flag.BoolVar(&o.markdown, "markdown", false, "print the tables of docs/verification.md")
	flag.StringVar(&o.only, "only", "", "only runs whose model and definitions contain this")
	flag.IntVar(&o.parallel, "parallel", min(2, runtime.NumCPU()), "runs at once")
	flag.DurationVar(&o.timeout, "timeout", 10*time.Minute, "the longest that one run may take")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := verify(ctx, os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type options struct {
	large, verbose, markdown bool
	only                     string
	parallel                 int
	timeout                  time.Duration
}

// selected returns the runs that are asked for.
func (o options) selected() []run {
	var some []run
	for _, r := range runs() {
		if (o.large || !r.large) && strings.Contains(r.model+" "+r.name(), o.only) {
			some = append(some, r)
		}
	}
	return some
}

// verify does all runs and reports what is not as it has to be: to out in detail, and as
// an error.
func verify(ctx context.Context, out io.Writer, o options) error {
	all := o.selected()
	results := make([]result, len(all))
	places := make(chan struct{}, max(o.parallel, 1))
	for i := range all {
		places <- struct{}{}
		go func() {
			defer func() { <-places }()
			results[i] = check(ctx, all[i], o.timeout)
		}()
	}
	for range cap(places) {
		places <- struct{}{}
	}
	var text strings.Builder
	wrong := report(&text, results, o)
	if o.only == "" {
		for _, s := range unvisited(results) {
			text.WriteString(s + "\n")
			wrong++
		}
	}
	if _, err := io.WriteString(out, text.String()); err != nil {
		return err
	}
	if wrong > 0 {
		return fmt.Errorf("verify: %d of %d runs and statements are not as they have to be", wrong, len(all))
	}
	return nil
}

// report prints what is asked for, and what is wrong whatever is asked for, and returns
// how much that is.
func report(out *strings.Builder, results []result, o options) (wrong int) {
	var lines strings.Builder
	for _, r := range results {
		if r.err != nil {
			wrong++
			fmt.Fprintf(&lines, "%s\t%s\tWRONG\t%v\n", r.run.model, r.run.name(), r.err)
		} else if o.verbose {
			fmt.Fprintf(&lines, "%s\t%s\t%s\t%d states\t%.1f s\n", r.run.model, r.run.name(), r.outcome(), r.states, r.took.Seconds())
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = io.WriteString(table, lines.String()) // a builder takes all
	_ = table.Flush()
	if o.markdown {
		markdown(out, results)
	}
	return wrong
}

// markdown prints the tables of the documentation.
func markdown(out *strings.Builder, results []result) {
	out.WriteString("| model | bounds | what goes on | states | seconds |\n|---|---|---|---:|---:|\n")
	for _, r := range results {
		if r.run.breaks == "" {
			fmt.Fprintf(out, "| %s | `%s` | %s | %s | %.1f |\n", r.run.model, r.run.name(), r.run.what, grouped(r.states), r.took.Seconds())
		}
	}
	out.WriteString("\n| model | switch | what is wrong then | states until it is found |\n|---|---|---|---:|\n")
	for _, r := range results {
		if r.run.breaks != "" {
			fmt.Fprintf(out, "| %s | `%s` | %s | %s |\n", r.run.model, r.run.defs[len(r.run.defs)-1], r.run.what, grouped(r.states))
		}
	}
}

// grouped returns n with commas.
func grouped(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", grouped(n/1000), n%1000)
}
