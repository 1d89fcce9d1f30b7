// Steady looks for tests that fail by chance: it runs all tests again and again, and those with
// several members of etcd more often still, beside busy loops and a program that writes to disk,
// and prints what failed how often.
//
//	go run ./internal/steady -runs 20 -repeats 200
//
// The output of what failed is kept. The exit code is 1 if anything did.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// options are what the command line says.
type options struct {
	runs, repeats, loops int
	in, out              string
	packages             []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "steady:", err)
		os.Exit(1)
	}
}

func parse(args []string, out io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("steady", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.IntVar(&o.runs, "runs", 20, "how often to run all tests")
	fs.IntVar(&o.repeats, "repeats", 200, "how often to run each test with several members")
	fs.IntVar(&o.loops, "loops", 2, "busy loops beside them")
	fs.StringVar(&o.in, "C", "", "the folder to run go test in")
	fs.StringVar(&o.out, "out", filepath.Join("_artifacts", "steady"), "the folder for the output of what failed")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if o.packages = fs.Args(); len(o.packages) == 0 {
		o.packages = []string{"./..."}
	}
	return o, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o750); err != nil {
		return err
	}
	load, err := startLoad(o.loops)
	if err != nil {
		return err
	}
	t := newTally()
	err = errors.Join(o.perform(ctx, t, out), load.end())
	_, werr := io.WriteString(out, t.table())
	if err = errors.Join(err, werr); err == nil && t.failures() > 0 {
		err = fmt.Errorf("%d failures, see %s", t.failures(), o.out)
	}
	return err
}

// perform runs all tests, and then those with several members.
func (o options) perform(ctx context.Context, t *tally, out io.Writer) error {
	for i := range o.runs {
		if err := o.test(ctx, t, out, fmt.Sprintf("run-%02d", i+1), "-count=1"); err != nil {
			return err
		}
	}
	if o.repeats == 0 {
		return nil
	}
	names, err := o.withMembers(ctx)
	if err != nil || len(names) == 0 {
		return err
	}
	return o.test(ctx, t, out, "members", "-count="+strconv.Itoa(o.repeats), "-timeout=0", "-run=^("+strings.Join(names, "|")+")$")
}

// test runs go test once and counts what comes of it.
func (o options) test(ctx context.Context, t *tally, out io.Writer, name string, args ...string) error {
	began := time.Now()
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"test", "-json"}, args...), o.packages...)...)
	cmd.Dir, cmd.Stderr = o.in, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	events, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	failed, err := t.read(events, filepath.Join(o.out, name))
	var exit *exec.ExitError
	if werr := cmd.Wait(); !errors.As(werr, &exit) { // that a test failed is counted
		err = errors.Join(err, werr)
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	_, werr := fmt.Fprintf(out, "%s: %d failed, %v\n", name, failed, time.Since(began).Round(time.Second))
	return errors.Join(err, werr)
}
