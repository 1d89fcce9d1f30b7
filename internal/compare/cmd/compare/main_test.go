package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/process"
)

func TestMain(m *testing.M) {
	process.Main(perf.Roles())
	goleak.VerifyTestMain(m)
}

// invented is a work in which the rival takes as many times as long as Conclave.
func invented(name string, times float64, err error) perf.Work {
	return perf.Work{
		Name: name, Title: "nothing", Rounds: 2, Quick: 1,
		Metrics: []perf.Metric{{Name: "time", Unit: "ms", Stats: []perf.Stat{perf.P50}}},
		Begin: func(context.Context, *perf.Env) ([]perf.Side, func() error, error) {
			side := func(name string, took float64) perf.Side {
				return perf.Side{Name: name, Round: func(context.Context) (perf.Samples, error) {
					return perf.Samples{"time": {took}}, err
				}}
			}
			return []perf.Side{side(perf.Ours, 1), side("rival", times)}, nil, nil
		},
	}
}

// command runs the command on works and returns what it prints.
func command(t *testing.T, works []perf.Work, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, progress strings.Builder
	err = run(t.Context(), args, works, &out, &progress)
	return out.String(), progress.String(), err
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return string(text)
}

func TestARunIsRecordedAndDrawn(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	stdout, stderr, err := command(t, []perf.Work{invented("lock/a", 2, nil)}, "-out", dir)
	require.NoError(t, err)
	require.Contains(t, stdout, "lock/a on none: nothing")
	require.Contains(t, stderr, "recorded in "+dir)
	require.Contains(t, read(t, dir, figuresFile), "lock/a,none,time,ms,less,p50,rival,,2,2,2,2,2,2\n")
	require.Contains(t, read(t, dir, "ratios.svg"), "rival")
	require.Contains(t, read(t, dir, machineFile), `"cores"`)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 5, "nothing temporary is left")
}

func TestChartsAndTablesNeedNoRun(t *testing.T) {
	t.Parallel()
	dir, works := t.TempDir(), []perf.Work{invented("lock/a", 2, nil)}
	_, _, err := command(t, works, "-out", dir)
	require.NoError(t, err)
	drawn, figures := read(t, dir, "ratios.svg"), read(t, dir, figuresFile)
	require.NoError(t, os.Remove(filepath.Join(dir, "ratios.svg")))
	stdout, _, err := command(t, works, "-out", dir, "-charts")
	require.NoError(t, err)
	require.Empty(t, stdout)
	require.Equal(t, drawn, read(t, dir, "ratios.svg"))
	require.Equal(t, figures, read(t, dir, figuresFile))
	require.Contains(t, read(t, dir, tablesFile), "| a | none | p50 time | 1 ms | rival | 2 ms | 2x |")
	require.Contains(t, read(t, dir, tablesFile), "Measured on 2")
}

func TestSomeWorksAreMeasuredAnewAndOthersKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, _, err := command(t, []perf.Work{invented("lock/a", 2, nil), invented("lock/b", 3, nil)}, "-out", dir)
	require.NoError(t, err)
	stdout, _, err := command(t, []perf.Work{invented("lock/a", 4, nil), invented("lock/b", 5, nil)}, "-out", dir, "-only", "/b")
	require.NoError(t, err)
	require.NotContains(t, stdout, "lock/a")
	require.Contains(t, read(t, dir, figuresFile), "lock/a,none,time,ms,less,p50,rival,,2,")
	require.Contains(t, read(t, dir, figuresFile), "lock/b,none,time,ms,less,p50,rival,,5,")
}

func TestFiguresOfAnotherMachineAreNotMixed(t *testing.T) {
	t.Parallel()
	dir, works := t.TempDir(), []perf.Work{invented("lock/a", 2, nil)}
	_, _, err := command(t, works, "-out", dir)
	require.NoError(t, err)
	other := regexp.MustCompile(`"cores": \d+`).ReplaceAllString(read(t, dir, machineFile), `"cores": 999`)
	require.NoError(t, os.WriteFile(filepath.Join(dir, machineFile), []byte(other), 0o600))
	_, _, err = command(t, works, "-out", dir, "-only", "lock")
	require.ErrorContains(t, err, "figures of another machine")
	_, stderr, err := command(t, works, "-out", dir, "-check")
	require.NoError(t, err)
	require.Contains(t, stderr, "recorded on another machine")
}

func TestAWorkThatFailsFailsTheCommandWhichRecordsTheRest(t *testing.T) {
	t.Parallel()
	dir, broken := t.TempDir(), errors.New("broken on purpose")
	_, _, err := command(t, []perf.Work{invented("lock/a", 2, broken), invented("lock/b", 3, nil)}, "-out", dir)
	require.ErrorIs(t, err, broken)
	require.NotContains(t, read(t, dir, figuresFile), "lock/a")
	require.Contains(t, read(t, dir, figuresFile), "lock/b")
}

func TestAnInterruptedRunLeavesTheRecordsAsTheyWere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, _, err := command(t, []perf.Work{invented("lock/a", 2, nil)}, "-out", dir)
	require.NoError(t, err)
	before := read(t, dir, figuresFile)
	ctx, cancel := context.WithCancel(t.Context())
	w := invented("lock/b", 3, nil)
	begin := w.Begin
	w.Begin = func(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
		cancel()
		return begin(ctx, on)
	}
	var out, progress strings.Builder
	err = run(ctx, []string{"-out", dir}, []perf.Work{invented("lock/a", 9, nil), w}, &out, &progress)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "nothing is recorded")
	require.Equal(t, before, read(t, dir, figuresFile))
}

func TestACheckFailsForARatioThatIsFarLower(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, _, err := command(t, []perf.Work{invented("lock/a", 2, nil), invented("lock/b", 2, nil)}, "-out", dir)
	require.NoError(t, err)
	before := read(t, dir, figuresFile)
	_, stderr, err := command(t, []perf.Work{invented("lock/a", 1.9, nil), invented("lock/b", 3, nil)}, "-out", dir, "-check", "-quick")
	require.NoError(t, err)
	require.Contains(t, stderr, "no ratio is below 70 % of the recorded one")
	_, stderr, err = command(t, []perf.Work{invented("lock/a", 1, nil), invented("lock/b", 3, nil)}, "-out", dir, "-check")
	require.EqualError(t, err, "REGRESSED, twice: lock/a on none, p50 time: 1.00 times better than rival, recorded 2.00: 50 % less")
	require.Equal(t, 2, strings.Count(stderr, "lock/a on none\n"))
	require.Equal(t, 1, strings.Count(stderr, "lock/b on none\n"))
	require.Equal(t, before, read(t, dir, figuresFile), "a check records nothing")
}

func TestAQuickRunRecordsNothingUnlessTold(t *testing.T) {
	t.Parallel()
	works := []perf.Work{invented("lock/a", 2, nil)}
	_, stderr, err := command(t, works, "-quick")
	require.NoError(t, err)
	require.NotContains(t, stderr, "recorded in")
	dir := t.TempDir()
	_, stderr, err = command(t, works, "-quick", "-out", dir)
	require.NoError(t, err)
	require.Contains(t, stderr, "recorded in "+dir)
}

func TestBadArgumentsAreRefused(t *testing.T) {
	t.Parallel()
	works := []perf.Work{invented("lock/a", 2, nil)}
	for want, args := range map[string][]string{
		"want flags only":               {"lock"},
		"-only: error parsing regexp":   {"-only", "("},
		`-only "none of them": matches`: {"-only", "none of them"},
		"flag provided but not defined": {"-unknown"},
		"records: open ":                {"-out", t.TempDir(), "-charts"},
	} {
		_, _, err := command(t, works, args...)
		require.ErrorContains(t, err, want)
	}
}

func TestWorksAreListedEachOnce(t *testing.T) {
	t.Parallel()
	all := works()
	seen := make(map[string]bool)
	for _, w := range all {
		require.False(t, seen[w.ID()], w.ID())
		seen[w.ID()] = true
		require.NotEmpty(t, w.Title, w.ID())
		require.NotEmpty(t, w.Metrics, w.ID())
		require.Positive(t, w.Rounds, w.ID())
	}
	stdout, _, err := command(t, all, "-list")
	require.NoError(t, err)
	require.Equal(t, len(all), strings.Count(stdout, "\n"))
}

func TestRecordsAreInTheRepository(t *testing.T) {
	t.Parallel()
	dir, err := folder()
	require.NoError(t, err)
	require.Equal(t, "performance", filepath.Base(dir))
	require.DirExists(t, filepath.Dir(dir))
}
