package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/internal/chaos"
	"github.com/conclave-go/conclave/internal/chaos/history"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

func TestLocksAreJudgedAndWhatHappenedIsWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	page, events, schedule := filepath.Join(dir, "page.html"), filepath.Join(dir, "events.jsonl"), filepath.Join(dir, "schedule.json")
	r := programtest.Start(t, nil, "-only", "pause-between,mutex", "-rounds", "2", "-seed", "7",
		"-html", page, "-json", events, "-schedule", schedule)
	out, code := r.Finish(t)
	require.Zerof(t, code, "%s\n%s", out, r.Stderr.String())
	programtest.RequireInOrder(t, out, `1 scenario, seed 7`, `pause-between: HELD mutex`, `(?m)^ +mutex`, `(?m)^pause-between +held`, `seed 7`)
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(html), "pause-between: mutex")
	lines, err := os.ReadFile(events)
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(lines), "\n")
	all, err := history.ReadAll(strings.NewReader(rest))
	require.NoError(t, err)
	require.NotEmpty(t, history.Holds(all))
	out = programtest.Play(t, nil, "-replay", schedule)
	programtest.RequireInOrder(t, out, `1 scenario, seed 7`, `pause-between: HELD mutex`)
}

func TestASoakPlaysRandomCompositionsForATime(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, "-duration", "1s", "-seed", "7", "-ttl", "3s", "-rounds", "2")
	programtest.RequireInOrder(t, out, `round 1, seed 7`, `soak-1-`, `locks on etcd went through`)
}

func TestListSaysWhatThereIs(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, "-list")
	for _, s := range chaos.Scenarios() {
		require.Contains(t, out, s.Name)
	}
}

func TestBadFlagsAreRefusedWithTheUsage(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, usage, map[string][]string{
		"argument":      {"now"},
		"unknown":       {"-only", "thunder"},
		"nothing left":  {"-only", "redis-failover,rwmutex"},
		"TTL":           {"-ttl", "1500ms"},
		"rounds":        {"-rounds", "0"},
		"parallel":      {"-parallel", "0"},
		"duration":      {"-duration", "0s"},
		"both":          {"-duration", "1s", "-replay", "x"},
		"no schedule":   {"-replay", "/does/not/exist"},
		"page nowhere":  {"-only", "kill", "-html", "/does/not/exist"},
		"event nowhere": {"-only", "kill", "-json", "/does/not/exist"},
	})
}

func TestARoundThatBrokeAPromiseIsKeptForAReplay(t *testing.T) {
	t.Chdir(t.TempDir())
	out, err := os.Create("out")
	require.NoError(t, err)
	r := &runner{options: options{seed: 7}, out: out}
	found := &chaos.Report{
		Schedule: chaos.Compose(7, 1, defaultTTL, 6),
		Cells:    []chaos.Cell{{Scenario: "soak-1-etcd", System: "stock-mutex", Verdict: chaos.Broken}},
	}
	s, broken := found.Replay()
	require.True(t, broken)
	require.NoError(t, r.keep(s, found))
	require.NoError(t, out.Close())
	replay, err := chaos.ReadSchedule("chaos-7.json")
	require.NoError(t, err)
	require.Equal(t, found.Schedule.Entries[:1], replay.Entries)
	require.FileExists(t, "chaos-7.jsonl")
	said, err := os.ReadFile("out")
	require.NoError(t, err)
	require.Contains(t, string(said), "-replay chaos-7.json")
}
