package main

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/suite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// search is what a search prints at its end.
func search(lines ...string) string {
	return strings.Join(append(lines, "State-vector 316 byte, depth reached 139, errors: 0", "    66706 states, stored", ""), "\n")
}

const broke = "pan:1: assertion violated (owned&(1<<mine)) (at depth 100)\n" +
	"State-vector 316 byte, depth reached 100, errors: 1\n     7082 states, stored\n"

func TestASearchThatWasCutShortShowsNothing(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"error: max search depth too small", "pan: out of memory", "pan: reached -DMEMLIM bound: memory limit",
		"Interrupted", "Warning: Search not completed, time limit",
	} {
		require.ErrorContains(t, judge(holds("m", "", ""), search(line)), "cut short", line)
		require.Error(t, judge(breaks("m", "owned&", "X", ""), search(line)+broke), line)
	}
	require.ErrorContains(t, judge(holds("m", "", ""), "pan: Segmentation fault\n"), "Segmentation fault")
}

func TestAProtocolThatHoldsMayBreakNothing(t *testing.T) {
	t.Parallel()
	require.NoError(t, judge(holds("m", "", ""), search()))
	require.ErrorContains(t, judge(holds("m", "", ""), broke), "owned&(1<<mine)")
}

func TestABrokenProtocolBreaksWhatItsSwitchIsSaidTo(t *testing.T) {
	t.Parallel()
	require.NoError(t, judge(breaks("m", "owned&(1<<mine)", "X", ""), broke))
	require.ErrorContains(t, judge(breaks("m", "done==", "X", ""), broke), "something else")
	require.ErrorContains(t, judge(breaks("m", "owned&", "X", ""), search()), "passes, although it is broken")
}

func TestAStatementThatNoRunVisitsIsReported(t *testing.T) {
	t.Parallel()
	statements := "\tstate 1 -(tr 3)-> state 2  [id  0 tp   2] [A---L] m.pml:7 => x = 1\n" +
		"\tstate 2 -(tr 4)-> state 3  [id  1 tp   2] [----L] m.pml:8 => y = 1\n" +
		"\tstate 3 -(tr 5)-> state 0  [id  2 tp 350] [--e-L] m.pml:9 => -end-\n"
	misses := func(places ...string) string { return search(places...) }
	first := result{visited: visited(statements, misses("\t/tmp/m.pml:7, state 1, \"x = 1\"", "\t/tmp/m.pml:9, state 3, \"-end-\""))}
	second := result{visited: visited(statements, misses("\tm.pml:8, state 2, \"y = 1\""))}
	require.Equal(t, []string{"no run visits m.pml:7 x = 1"}, unvisited([]result{first}))
	require.Empty(t, unvisited([]result{first, second}))
}

func TestEveryModelHasFourSwitchesThatBreakIt(t *testing.T) {
	t.Parallel()
	switches, names := make(map[string]int), make(map[string]bool)
	for _, r := range runs() {
		if r.breaks != "" {
			switches[r.model]++
		}
		require.False(t, names[r.model+r.name()], "twice: %s %s", r.model, r.name())
		names[r.model+r.name()] = true
		_, err := models.ReadFile("models/" + r.model + ".pml")
		require.NoError(t, err)
	}
	for model, n := range switches {
		require.GreaterOrEqual(t, n, 4, model)
	}
	require.Len(t, switches, 7)
}

func TestSmallRunsAreQuietWhenAllIsWell(t *testing.T) {
	suite.Nightly(t) // compiles models and searches them
	t.Parallel()
	for _, command := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(command); err != nil {
			t.Skipf("%s is not installed", command)
		}
	}
	var out bytes.Buffer
	require.NoError(t, verify(context.WithoutCancel(t.Context()), &out, options{only: "handoff LINGER=1", parallel: 1, timeout: 5 * time.Minute}))
	require.Empty(t, out.String())
}
