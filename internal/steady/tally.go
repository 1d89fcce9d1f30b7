package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// event is what go test says with -json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	// ImportPath is what a failing build has in place of Package.
	ImportPath string
}

// id names a test; without a Test, what failed is its package: a leak, or a panic.
type id struct{ pkg, test string }

func (e event) id() id { return id{path.Base(cmp.Or(e.Package, e.ImportPath)), e.Test} }

// count is what became of a test.
type count struct{ runs, failures int }

// tally is what became of all.
type tally struct{ counts map[id]count }

func newTally() *tally { return &tally{counts: map[id]count{}} }

// read counts the events of one go test, and writes the output of a test that fails to a file whose name
// begins with prefix. It returns how many failed.
func (t *tally) read(events io.Reader, prefix string) (failed int, err error) {
	outputs := map[id]*strings.Builder{}
	for d := json.NewDecoder(events); ; {
		var e event
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return failed, nil
		} else if err != nil {
			return failed, err
		}
		switch e.Action {
		case "output", "build-output":
			if outputs[e.id()] == nil {
				outputs[e.id()] = &strings.Builder{}
			}
			outputs[e.id()].WriteString(e.Output)
		case "pass", "fail", "build-fail":
			if t.add(e) {
				failed++
				if err := keep(prefix, failed, e.id(), outputs[e.id()]); err != nil {
					return failed, err
				}
			}
			delete(outputs, e.id())
		}
	}
}

// add counts a result, and reports whether it is a failure of its own: not one of a test or
// package because of a test in it.
func (t *tally) add(e event) bool {
	c := t.counts[e.id()]
	c.runs++
	failed := e.Action != "pass"
	if failed {
		c.failures++
	}
	t.counts[e.id()] = c
	return failed
}

// keep writes what a failing test has said.
func keep(prefix string, n int, which id, output *strings.Builder) error {
	if output == nil {
		return nil
	}
	name := fmt.Sprintf("%s-%03d-%s-%s.txt", prefix, n, which.pkg, strings.ReplaceAll(which.test, "/", "."))
	return os.WriteFile(name, []byte(output.String()), 0o600)
}

// failures is how often a test failed, or a package without one.
func (t *tally) failures() (sum int) {
	for _, which := range t.failed() {
		sum += t.counts[which].failures
	}
	return sum
}

// failed returns what failed by itself, the most frequent first: not the tests above a failing subtest,
// nor the packages of failing tests.
func (t *tally) failed() []id {
	var all []id
	for which, c := range t.counts {
		if c.failures > 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(t.counts)), func(o id) bool {
			return t.counts[o].failures > 0 && o.within(which)
		}) {
			all = append(all, which)
		}
	}
	slices.SortFunc(all, func(a, b id) int {
		return cmp.Or(t.counts[b].failures-t.counts[a].failures, strings.Compare(a.pkg, b.pkg), strings.Compare(a.test, b.test))
	})
	return all
}

// within reports whether it is a part of another: a test of a package, a subtest of a test.
func (i id) within(o id) bool {
	if i.pkg != o.pkg || i == o {
		return false
	}
	return o.test == "" || strings.HasPrefix(i.test, o.test+"/")
}

// table shows what failed, for Markdown.
func (t *tally) table() string {
	var tests, runs int
	for which, c := range t.counts {
		if which.test != "" && !strings.Contains(which.test, "/") {
			tests, runs = tests+1, runs+c.runs
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d tests, run %d times: %d failures\n", tests, runs, t.failures())
	if t.failures() == 0 {
		return b.String()
	}
	b.WriteString("\n| package | test | failed | of runs |\n|---|---|---|---|\n")
	for _, which := range t.failed() {
		c := t.counts[which]
		fmt.Fprintf(&b, "| %s | %s | %d | %d |\n", which.pkg, cmp.Or(which.test, "(itself)"), c.failures, c.runs)
	}
	return b.String()
}
