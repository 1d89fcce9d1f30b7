// Package suite is how the tests of a package run here: several at once for each processor, since most
// of them wait; in a temporary directory of their own, see package tempdir; and, with -short, only the
// essential ones, or all but those that take long. How much the long ones do depends on [Long], and some wait for the [Nightly] run.
package suite

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/conclave-go/conclave/internal/tempdir"
)

// LongVariable is the environment variable that makes random tests long and adds the nightly ones: "1",
// as make long sets it.
const LongVariable = "CONCLAVE_LONG"

// atOnce is how many tests run at a time for each processor.
const atOnce = 6

// garbage is how much the heap may grow between two collections, in percent. Tests have small heaps and make
// much garbage: with Go's 100, collecting it is a fifth of what they cost. Without any limit they cost more
// again, because each page is then a new one.
const garbage = 400

// Suite is the tests of a package. [Of] and [Essentials] make it.
type Suite struct {
	m               *testing.M
	slow, essential []string
}

// Of returns the tests of a package, for goleak.VerifyTestMain. With -short those are left out whose names
// match one of the regular expressions in slow.
func Of(m *testing.M, slow ...string) Suite { return Suite{m: m, slow: slow} }

// Essentials is [Of] for a package of so many tests that a list of the others would be longer: with -short only
// those run whose names match one of the regular expressions. They are the main path of each thing that the
// package has, its errors, and a fault.
func Essentials(m *testing.M, essential ...string) Suite { return Suite{m: m, essential: essential} }

// Run runs the tests and returns their exit code.
func (s Suite) Run() int {
	flag.Parse()
	dir, err := tempdir.Make(strings.TrimSuffix(filepath.Base(os.Args[0]), filepath.Ext(os.Args[0])))
	if err != nil {
		return fail(err)
	}
	defer func() { _ = dir.Remove() }() // the next process tries again
	if os.Getenv("GOGC") == "" && flag.Lookup("test.bench").Value.String() == "" {
		debug.SetGCPercent(garbage)
	}
	for _, err := range []error{os.Setenv("TMPDIR", dir.Path()), runMany(), s.shorten()} {
		if err != nil {
			return fail(err)
		}
	}
	return s.m.Run()
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "suite:", err)
	return 1
}

// runMany lets more tests run at a time than there are processors, unless -parallel says how many.
func runMany() error {
	return setDefault("test.parallel", strconv.Itoa(runtime.GOMAXPROCS(0)), strconv.Itoa(atOnce*runtime.GOMAXPROCS(0)))
}

// shorten leaves tests out, unless -skip or -run says which.
func (s Suite) shorten() error {
	if !testing.Short() {
		return nil
	}
	for name, patterns := range map[string][]string{"test.skip": s.slow, "test.run": s.essential} {
		if err := setDefault(name, "", strings.Join(patterns, "|")); err != nil {
			return err
		}
	}
	return nil
}

// setDefault gives a flag another default.
func setDefault(name, before, value string) error {
	if flag.Lookup(name).Value.String() != before {
		return nil
	}
	return flag.Set(name, value)
}

// Long is how much a test does that could go on for ever: little by default, so that all tests take
// a minute, and much where the environment asks for it.
func Long[N any](little, much N) N {
	if long() {
		return much
	}
	return little
}

// Nightly skips a test that costs more time than the run that everybody waits for can give it, unless
// the environment asks for it.
func Nightly(tb testing.TB) {
	tb.Helper()
	if !long() {
		tb.Skipf("left out without %s=1, as make long sets it", LongVariable)
	}
}

func long() bool { return os.Getenv(LongVariable) == "1" }
