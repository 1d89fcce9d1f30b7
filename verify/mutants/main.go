package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mutant is one change.
type mutant struct {
	// name is package, slash, and what is wrong in a few words.
	name string
	// file and fn say where: a path from the root, and a function, a method as Type.name.
	file, fn string
	// old is replaced by with.
	old, with string
	// tests are the packages whose tests have to notice; the first to do so ends it.
	tests []string
	// by is a pattern for the tests that are known to notice, tried first.
	by string
	// equivalent is why nobody can tell the mutant from the code.
	equivalent string
}

// verdict is what came of a mutant.
type verdict struct {
	mutant mutant
	killed bool
	by     string // the test that failed
	took   time.Duration
	err    error // why it is not decided
}

func main() {
	l := &lab{built: make(map[string]string)}
	only := flag.String("only", "", "only mutants whose name contains one of these, separated by commas")
	list := flag.Bool("list", false, "print the names of mutants and exit")
	build := flag.Bool("build", false, "build the tests with all mutants and exit")
	flag.BoolVar(&l.short, "short", false, "run tests with -short")
	flag.BoolVar(&l.spec, "spec", false, "count a mutant as killed only if the specification notices it, in the tests of lock and election")
	flag.BoolVar(&l.known, "known", false, "try only mutants that some test is known to notice, and run only those tests")
	flag.IntVar(&l.parallel, "parallel", runtime.NumCPU(), "mutants at once")
	flag.DurationVar(&l.timeout, "timeout", 3*time.Minute, "how long a package's tests may take before they count as failed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	all := slices.DeleteFunc(mutants(), func(m mutant) bool {
		asked := slices.ContainsFunc(strings.Split(*only, ","), func(part string) bool { return strings.Contains(m.name, part) })
		return !asked || l.known && m.by == ""
	})
	if l.spec {
		for i := range all {
			all[i].tests = []string{"lock", "election"}
		}
	}
	do := l.tryAll
	switch {
	case *list:
		do = names
	case *build:
		do = l.build
	}
	if err := l.with(ctx, all, do); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func names(_ context.Context, all []mutant) error {
	for _, m := range all {
		fmt.Println(m.name)
	}
	return nil
}

// with calls do with mutants for which the overlay is written.
func (l *lab) with(ctx context.Context, all []mutant, do func(context.Context, []mutant) error) (err error) {
	if l.root, err = os.Getwd(); err != nil {
		return err
	}
	if l.dir, err = os.MkdirTemp("", "mutants"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(l.dir) }()
	if l.overlay, err = overlay(l.root, l.dir, all); err != nil {
		return err
	}
	return do(ctx, all)
}

// tryAll tries all mutants, several at once since most of their tests wait for something, and
// prints a line for each. It fails if one survived that is not equivalent.
func (l *lab) tryAll(ctx context.Context, all []mutant) error {
	if err := l.build(ctx, all); err != nil {
		return err
	}
	verdicts := make(chan verdict, len(all))
	places := make(chan struct{}, max(l.parallel, 1))
	go func() {
		for _, m := range all {
			places <- struct{}{}
			go func() {
				verdicts <- l.try(ctx, m)
				<-places
			}()
		}
	}()
	count := make(map[string]int)
	for range all {
		v := <-verdicts
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		count[v.word()]++
		fmt.Printf("%-64s %-10s %4.0f s  %s\n", v.mutant.name, v.word(), v.took.Seconds(), v.by)
	}
	fmt.Printf("%d mutants, %d killed, %d equivalent\n", len(all), count["killed"], count["equivalent"])
	if wrong := len(all) - count["killed"] - count["equivalent"]; wrong > 0 {
		return fmt.Errorf("%d survived, or are not what they are said to be", wrong)
	}
	return nil
}

// word says in a word what came of a mutant.
func (v verdict) word() string {
	switch {
	case v.err != nil:
		return "UNDECIDED"
	case v.killed && v.mutant.equivalent != "":
		return "DIFFERENT" // although it is said to be equivalent
	case v.killed:
		return "killed"
	case v.mutant.equivalent != "":
		return "equivalent"
	}
	return "SURVIVED"
}

// errUndecided says that a test fails without a mutant, too.
var errUndecided = errors.New("fails without a mutant, too")

// lab has the test binaries.
type lab struct {
	root, dir, overlay string
	timeout            time.Duration
	known, short, spec bool
	parallel           int
	built              map[string]string
}

// build builds the tests of all mutants.
func (l *lab) build(ctx context.Context, all []mutant) error {
	var errs []error
	for _, m := range all {
		for _, pkg := range m.tests {
			if _, ok := l.built[pkg]; ok {
				continue
			}
			file := filepath.Join(l.dir, strings.ReplaceAll(pkg, "/", "_")+".test")
			l.built[pkg] = file
			build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", l.overlay, "-o", file, "./"+pkg)
			build.Dir = l.root
			if out, err := build.CombinedOutput(); err != nil {
				errs = append(errs, fmt.Errorf("building the tests of %s: %w\n%s", pkg, err, out))
			}
		}
	}
	return errors.Join(errs...)
}

// try runs the tests of a mutant until one fails.
func (l *lab) try(ctx context.Context, m mutant) verdict {
	v := verdict{mutant: m}
	start := time.Now()
	patterns := []string{m.by, "."}
	switch {
	case m.by == "":
		patterns = patterns[1:]
	case l.known:
		patterns = patterns[:1]
	}
	for _, pattern := range patterns {
		for _, pkg := range m.tests {
			if failed := l.test(ctx, pkg, pattern, m.name); failed != "" && !v.killed {
				v.killed, v.by, v.err = true, pkg+" "+failed, l.blame(ctx, pkg, pattern, failed)
				v.took = time.Since(start)
				return v
			}
		}
	}
	v.took = time.Since(start)
	return v
}

// blame reports whether a test that failed under a mutant fails without one, too.
func (l *lab) blame(ctx context.Context, pkg, pattern, failed string) error {
	switch {
	case failed == "(failed)", pattern == "." && strings.Contains(failed, "timed out"): // perhaps the machine is busy
		return errUndecided
	case strings.HasPrefix(failed, "("): // a panic or a leak, not of one test
		return nil
	}
	if l.test(ctx, pkg, exactly(failed), "") != "" {
		return errUndecided
	}
	return nil
}

// exactly returns the pattern that matches one test.
func exactly(test string) string { return "^" + strings.ReplaceAll(test, "/", "$/^") + "$" }

// failure finds the first test that failed in the output of a test binary.
var failure = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// test runs the tests of a package that match pattern under a mutant, and returns the name
// of one that failed, empty if none did.
func (l *lab) test(ctx context.Context, pkg, pattern, name string) (failed string) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout+10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.built[pkg], "-test.failfast="+strconv.FormatBool(!l.spec), "-test.short="+strconv.FormatBool(l.short),
		"-test.run", pattern, "-test.timeout", l.timeout.String())
	cmd.Dir = filepath.Join(l.root, pkg)
	cmd.Env = append(os.Environ(), variable+"="+name)
	if l.spec {
		cmd.Env = append(cmd.Env, "CONCLAVE_SPEC=1")
	}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	if l.spec {
		return left(out)
	}
	if m := failure.FindSubmatch(out); m != nil && !bytes.Contains(out, []byte("panic: test timed out")) {
		return string(m[1])
	}
	return "(" + lastLine(string(out)) + ")"
}

// left returns the first test whose run has left the specification, empty if none has.
func left(out []byte) string {
	before, _, found := bytes.Cut(out, []byte("the run left the specification"))
	if !found {
		return ""
	}
	if all := failure.FindAllSubmatch(before, -1); len(all) > 0 {
		return string(all[len(all)-1][1])
	}
	return "(the specification)"
}

// lastLine says why tests ended without one that failed: a panic, or a timeout.
func lastLine(out string) string {
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") || strings.HasPrefix(line, "goleak:") {
			return strings.TrimSpace(line)
		}
	}
	return "failed"
}
