package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// depth is the longest path that is searched. A longer one fails the run.
	depth = 500_000
	// memory is the most that a run may use, in MB.
	memory = 8000
)

// result is what came of a run.
type result struct {
	run    run
	states int
	took   time.Duration // processor time of the search
	err    error
	// visited says of each statement of the model's text whether it was.
	visited map[string]bool
}

func (r result) outcome() string {
	if r.run.breaks == "" {
		return "holds"
	}
	return "breaks " + r.run.breaks
}

// check does a run.
func check(ctx context.Context, r run, timeout time.Duration) result {
	res := result{run: r}
	dir, err := os.MkdirTemp("", "verify")
	if err != nil {
		res.err = err
		return res
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if res.err = generate(ctx, dir, r); res.err != nil {
		return res
	}
	search := command(ctx, dir, "./pan", fmt.Sprintf("-m%d", depth), "-w22")
	out, err := search.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("did not end within %v", timeout)
	}
	if search.ProcessState != nil {
		res.took = search.ProcessState.UserTime()
	}
	if res.err = errors.Join(err, judge(r, string(out))); res.err != nil {
		return res
	}
	res.states = states(string(out))
	statements, err := command(ctx, dir, "./pan", "-d").CombinedOutput()
	if r.breaks == "" {
		res.visited = visited(string(statements), string(out))
		res.err = err
	}
	return res
}

// generate makes the program of a search in dir.
func generate(ctx context.Context, dir string, r run) error {
	text, err := models.ReadFile("models/" + r.model + ".pml")
	if err != nil {
		return err
	}
	file := filepath.Join(dir, r.model+".pml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	spin := []string{"-a"}
	for _, d := range r.defs {
		spin = append(spin, "-D"+d)
	}
	if err := quiet(command(ctx, dir, "spin", append(spin, filepath.Base(file))...)); err != nil {
		return err
	}
	optimize := "-O1" // more takes longer to compile than it saves
	switch {
	case r.large:
		optimize = "-O2"
	case r.breaks != "": // it is found at once
		optimize = "-O0"
	}
	return quiet(command(ctx, dir, "gcc", optimize, "-w", "-DSAFETY", "-DNOFAIR", "-DCOLLAPSE", "-DVECTORSZ=2048",
		fmt.Sprintf("-DMEMLIM=%d", memory), "-o", "pan", "pan.c"))
}

func command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	return cmd
}

// quiet runs a command whose output is of interest only if it fails.
func quiet(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err == nil && bytes.Contains(out, []byte("Error:")) {
		err = errors.New("reported an error")
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

var (
	errorsLine = regexp.MustCompile(`errors: (\d+)`)
	statesLine = regexp.MustCompile(`(?m)^ *([0-9.e+]+) states, stored`)
	violated   = regexp.MustCompile(`(?m)^pan:\d+: (.*)$`)
	// short are the ways in which a search says that it was not exhaustive.
	short = regexp.MustCompile(`max search depth too small|(?i)out of memory|memory limit|time limit|VECTORSZ|interrupted|truncated|hash-compact`)
)

// judge says what in a search's output is not as it has to be.
func judge(r run, out string) error {
	found := errorsLine.FindStringSubmatch(out)
	broke := strings.Join(violated.FindAllString(out, -1), "; ")
	switch {
	case short.MatchString(out):
		return fmt.Errorf("the search was cut short: %s", short.FindString(out))
	case found == nil || !statesLine.MatchString(out):
		return fmt.Errorf("the search did not end: %s", last(out))
	case r.breaks == "" && found[1] != "0":
		return fmt.Errorf("%s", broke)
	case r.breaks != "" && found[1] == "0":
		return errors.New("passes, although it is broken")
	case r.breaks != "" && !strings.Contains(strings.ReplaceAll(broke, " ", ""), r.breaks):
		return fmt.Errorf("breaks something else than %q: %s", r.breaks, broke)
	}
	return nil
}

func last(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

func states(out string) int {
	n, _ := strconv.ParseFloat(statesLine.FindStringSubmatch(out)[1], 64) // it matched
	return int(n)
}

var (
	// statement is a line of `pan -d`: id, place, text.
	statement = regexp.MustCompile(`(?m)\[id +\d+.*\] (\S+\.pml:\d+) => (.*)$`)
	// unreached is one of a search's list of what it did not visit.
	unreached = regexp.MustCompile(`(?m)^\s+(\S+\.pml:\d+), state \d+, "(.*)"$`)
)

// visited says of each statement, by its place, whether the search executed it. A macro
// has several at one place: they count as visited if one of them is.
func visited(statements, out string) map[string]bool {
	missed := make(map[string]int)
	for _, m := range unreached.FindAllStringSubmatch(out, -1) {
		missed[place(m[1], m[2])]++
	}
	all := make(map[string]int)
	for _, m := range statement.FindAllStringSubmatch(statements, -1) {
		all[place(m[1], m[2])]++
	}
	seen := make(map[string]bool, len(all))
	for at, n := range all {
		seen[at] = n > missed[at]
	}
	return seen
}

// bounds are numbers in a statement that are different in other runs.
var bounds = regexp.MustCompile(`([<>=+|&(-])\d+`)

// place names a statement, alike in all runs.
func place(at, text string) string {
	if !strings.ContainsAny(text, "<>=+|&") { // true, false, and the like
		return filepath.Base(at) + " " + text
	}
	return filepath.Base(at) + " " + bounds.ReplaceAllString(text, "$1#")
}

// unvisited returns the statements that no run of their model has visited. Such runs show
// nothing about them.
func unvisited(results []result) []string {
	seen := make(map[string]bool)
	for _, r := range results {
		for at, yes := range r.visited {
			seen[at] = seen[at] || yes
		}
	}
	var never []string
	for _, at := range slices.Sorted(maps.Keys(seen)) {
		if !seen[at] && !harmless(at) {
			never = append(never, "no run visits "+at)
		}
	}
	return never
}

// harmless reports whether a statement need not be visited: ends of processes that go on
// for ever, and assertions that always fail.
func harmless(at string) bool {
	return strings.HasSuffix(at, "-end-") || strings.HasSuffix(at, " assert(0)") || strings.HasSuffix(at, " (0)")
}
