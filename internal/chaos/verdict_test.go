package chaos_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/chaos"
	"github.com/conclave-go/conclave/internal/chaos/history"
)

// overlap is a history in which two hold the lock at once.
func overlap() []history.Event {
	ms := int64(time.Millisecond)
	return []history.Event{
		{At: 1 * ms, Kind: history.Begun, Fault: "cut", Worker: "w1"},
		{At: 10 * ms, Call: 1, Kind: history.Granted, Worker: "w1", Hold: "w1-1", Until: 900 * ms},
		{At: 20 * ms, Call: 1, Kind: history.Granted, Worker: "w2", Hold: "w2-1", Until: 900 * ms},
		{At: 30 * ms, Kind: history.Judged, Way: history.Unguarded, Worker: "w2", Hold: "w2-1", Value: 1, OK: true},
		{At: 40 * ms, Kind: history.Judged, Way: history.Unguarded, Worker: "w1", Hold: "w1-1", Value: 1, Was: 1, OK: true},
		{At: 50 * ms, Kind: history.Ended, Fault: "cut", Worker: "w1"},
	}
}

func entry(scenario string, faults ...string) chaos.Entry {
	e := chaos.Entry{Scenario: scenario, TTL: ttl}
	for _, f := range faults {
		e.Steps = append(e.Steps, chaos.Step{Fault: f})
	}
	return e
}

func TestASystemIsJudgedByWhatItPromisesUnderTheFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		system string
		faults []string
		want   chaos.Verdict
	}{
		{"redis", []string{"cut"}, chaos.Broken},
		{"redis", []string{"cut", "redis-clock"}, chaos.BrokenExpected},
		{"redlock", []string{"redis-restart"}, chaos.BrokenExpected},
		{"redlock+uptime", []string{"redis-restart"}, chaos.Broken},
		{"naive-redis", []string{"pause"}, chaos.BrokenExpected},
	} {
		cell := chaos.Judge(entry("x", c.faults...), c.system, overlap())
		require.Equal(t, c.want, cell.Verdict, "%s: %s", c.system, cell.Why)
		require.Contains(t, cell.Why, "S3 ×1")
	}
	require.Equal(t, chaos.Held, chaos.Judge(entry("x", "cut"), "redis", overlap()[:2]).Verdict)
}

func TestOnlyALeaderThatStallsOrASlowClockTakesS3BackFromALockOnEtcd(t *testing.T) {
	t.Parallel()
	for _, f := range chaos.FaultNames() {
		for _, name := range []string{"mutex", "rwmutex", "election", "mutex+delay"} {
			left := chaos.Promises(name, f)
			want := []history.Property{history.S1, history.S2, history.S4, history.S5, history.Live, history.InTime, history.Kept}
			stalls := f == "leader-stall" || f == "disk-stall" // which a lock delay makes up for
			if !stalls || name == "mutex+delay" {
				want = append(want, history.Real)
			}
			if f != "clock-slow" && (!stalls || name == "mutex+delay") {
				want = append(want, history.S3)
			}
			require.Subset(t, left, want, "%s under %s", name, f)
		}
	}
	for _, f := range []string{"leader-stall", "disk-stall", "clock-slow"} {
		require.NotContains(t, chaos.Promises("mutex", f), history.S3)
	}
}

func TestAHoldIsLostInVainOnlyWhereEveryFaultLeavesItAlone(t *testing.T) {
	t.Parallel()
	lost := append(overlap()[1:2:2], history.Event{At: 40 * int64(time.Millisecond), Kind: history.Told, Worker: "w1", Hold: "w1-1"})
	for verdict, faults := range map[chaos.Verdict][]string{
		chaos.Broken: {"follower-isolate", "learner"},
		chaos.Held:   {"follower-isolate", "cut"},
	} {
		require.Equal(t, verdict, chaos.Judge(entry("x", faults...), "concurrency", lost).Verdict, faults)
	}
	require.Equal(t, chaos.BrokenExpected, chaos.Judge(entry("x", "learner"), "stock-mutex", lost).Verdict)
}

func TestAWorkerThatEndsByItselfIsABreakOnceForAllShards(t *testing.T) {
	t.Parallel()
	var events []history.Event
	for i, lock := range []string{"g/shard/0", "g/shard/1", "g/shard/2"} {
		worker := []string{"w1", "w2", "w3"}[i]
		events = append(events, history.Event{At: 10, Call: 1, Kind: history.Granted, Lock: lock, Worker: worker, Hold: worker + "-1", Until: 900})
	}
	events = append(events, exited("w1", ""))
	require.Equal(t, chaos.Held, chaos.Judge(entry("x", "kill"), "shards", events).Verdict, "it was killed")
	events = append(events, exited("w2", "w2 ended: exit status 66"))
	cell := chaos.Judge(entry("x", "kill"), "shards", events)
	require.Equal(t, chaos.Broken, cell.Verdict)
	require.Equal(t, "live ×1", cell.Why)
	require.Equal(t, chaos.BrokenExpected, chaos.Judge(entry("x", "kill"), "ring", events).Verdict, "which promises nothing")
}

// report is one of a single cell.
func report(e chaos.Entry, system string, events []history.Event) *chaos.Report {
	e.Systems = []string{system}
	return chaos.NewReport(chaos.Schedule{Seed: 7, Entries: []chaos.Entry{e}}, chaos.Judge(e, system, events))
}

func TestTheLabFailsWhenAPromiseIsBroken(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, report(entry("cut", "cut"), "redis", overlap()).Failed(), "redis in cut is broken")
	require.NoError(t, report(entry("cut", "cut"), "redis", overlap()[:2]).Failed())
	replay, broken := report(entry("cut", "cut"), "redis", overlap()).Replay()
	require.True(t, broken)
	require.Len(t, replay.Entries, 1)
}

func TestTheLabFailsWhenAControlIsNotCaught(t *testing.T) {
	t.Parallel()
	clock := entry("redis-clock", "redis-clock")
	require.NoError(t, report(clock, "redlock", overlap()).Failed())
	require.ErrorContains(t, report(clock, "redlock", overlap()[:2]).Failed(), "control not caught: Redlock when clocks jump")
}

func TestNothingIsSaidOfAControlThatWasNotPlayedInAllItsScenarios(t *testing.T) {
	t.Parallel()
	var s chaos.Schedule
	var cells []chaos.Cell
	for _, scenario := range []string{"cut", "cut-one-way", "vanish"} {
		e := entry(scenario, scenario)
		e.Systems = []string{"stock-mutex"}
		s.Entries = append(s.Entries, e)
		require.NoError(t, chaos.NewReport(s, cells...).Failed())
		require.Empty(t, chaos.NewReport(s, cells...).Controls)
		cells = append(cells, chaos.Judge(e, "stock-mutex", overlap()[:2]))
	}
	require.ErrorContains(t, chaos.NewReport(s, cells...).Failed(), "control not caught: a stock session")
	cells[0] = chaos.Skip(s.Entries[0], "stock-mutex", "why not")
	require.NoError(t, chaos.NewReport(s, cells...).Failed())
	require.ErrorContains(t, chaos.NewReport(s, cells...).Unproven(), "control not proven: a stock session")
	cells[1] = chaos.Judge(s.Entries[1], "stock-mutex", overlap())
	r := chaos.NewReport(s, cells[:2]...)
	require.True(t, r.Controls[0].Caught)
	require.False(t, r.Controls[0].Skipped)
}

func TestAControlThatWasSkippedIsNotProvenWhichFailsWhereAllIsRequired(t *testing.T) {
	t.Parallel()
	e := entry("redis-clock", "redis-clock")
	e.Systems = []string{"redlock"}
	r := chaos.NewReport(chaos.Schedule{Entries: []chaos.Entry{e}}, chaos.Skip(e, "redlock", "no redis-server"))
	require.NoError(t, r.Failed())
	require.Contains(t, r.Text(), "not proven")
	require.Contains(t, r.Text(), "no redis-server")
	require.ErrorContains(t, r.Unproven(), "control not proven")
}

func TestTheReportFitsATerminalAndABrowser(t *testing.T) {
	t.Parallel()
	r := report(entry("cut", "cut"), "redis", overlap())
	for line := range strings.Lines(r.Text()) {
		require.LessOrEqual(t, len([]rune(strings.TrimSuffix(line, "\n"))), 80, line)
	}
	require.Regexp(t, `(?m)^cut +FAIL!$`, r.Text())
	require.Contains(t, r.Text(), "1/2", "updates lost")
	var page, lines bytes.Buffer
	require.NoError(t, r.Page("chaos -seed 7").Write(&page))
	require.Contains(t, page.String(), "chaos -seed 7")
	require.Contains(t, page.String(), "unguarded: lost update")
	require.NoError(t, r.WriteHistory(&lines))
	require.Equal(t, len(overlap())+1, strings.Count(lines.String(), "\n"))
}

func TestTheVerdictsInADocumentAreReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.md")
	require.NoError(t, os.WriteFile(path, []byte("before\n<!-- verdicts -->\nprevious\n<!-- end of verdicts -->\nafter\n"), 0o600))
	r := report(entry("cut", "cut"), "redis", overlap())
	for range 2 {
		require.NoError(t, r.Document(path, "chaos -seed 7"))
	}
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Regexp(t, "(?s)^before\n<!-- verdicts -->\n`go run ./examples/chaos -seed 7` on .*```text\n.*FAIL!.*```\n<!-- end of verdicts -->\nafter\n$", string(text))
	require.NotContains(t, string(text), "previous")
	require.NoError(t, os.WriteFile(path, []byte("none"), 0o600))
	require.ErrorContains(t, r.Document(path, ""), "has no lines")
}

// Every scenario and fault is explained.
func TestTheDocumentationKnowsEveryScenario(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/chaos.md")
	require.NoError(t, err)
	for _, s := range chaos.Scenarios() {
		require.Contains(t, string(text), "`"+s.Name+"`")
	}
	for _, s := range chaos.Systems() {
		require.Contains(t, string(text), "`"+s.Name+"`")
	}
}

func TestOnlyBeatsThatWereLateMeanwhileCount(t *testing.T) {
	t.Parallel()
	beats := map[int64]time.Duration{100: 10, 200: 20, 300: 30}
	require.Equal(t, time.Duration(60), chaos.LateBetween(0, 1000, beats))
	require.Equal(t, time.Duration(20), chaos.LateBetween(150, 250, beats))
	require.Equal(t, time.Duration(30), chaos.LateBetween(250, 280, beats), "it began before the end")
	require.Zero(t, chaos.LateBetween(300, 400, beats))
}
