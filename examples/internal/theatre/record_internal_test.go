package theatre

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/timeline"
)

// began is when the acts of these tests begin.
func began() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func at(ms int) time.Time { return began().Add(time.Duration(ms) * time.Millisecond) }

// hear has a copy log something.
func (r *record) hear(name string, ms int, msg, more string) {
	text := fmt.Sprintf(`{"time":%q,"msg":%q%s}`, at(ms).Format(time.RFC3339Nano), msg, more)
	l := Line{Copy: name, Text: json.RawMessage(text)}
	if err := l.Read(&l); err != nil {
		panic(err)
	}
	r.add(l)
}

func token(n, until int) string {
	if until == 0 {
		return fmt.Sprintf(`,"token":"%d"`, n)
	}
	return fmt.Sprintf(`,"token":"%d","until":%q`, n, at(until).Format(time.RFC3339Nano))
}

// example is w2 active after w1, w3 waiting, and w4 a rival that lost.
func example() *record {
	r := newRecord(true)
	for _, name := range []string{"w1", "w2", "w3"} {
		r.enter(name, false)
	}
	r.enter("w4", true)
	r.begin(at(0))
	r.hear("w1", 10, "waiting", "")
	r.hear("w1", 20, "holding", token(5, 60))
	r.hear("w1", 25, "holding", token(5, 80))
	r.hear("w2", 30, "waiting", "")
	r.hear("w2", 31, "waiting", "")
	r.hear("w3", 32, "waiting", "")
	r.hear("w2", 52, "holding", token(6, 90)) // what w1 logged before is read late
	r.hear("w1", 50, "stopped", token(5, 0)+`,"lost":null`)
	r.hear("w4", 60, "holding", token(7, 0))
	r.hear("w4", 70, "stopped", token(7, 0)+`,"lost":"session done"`)
	r.hear("w2", 75, "of no office", "")
	r.hear("w2", 76, "at work", token(6, 0)) // what it runs says so
	return r
}

func TestTheChartHasWhatTheCopiesLogged(t *testing.T) {
	t.Parallel()
	ms := time.Millisecond
	r := example()
	r.disturb(r.find("w2"), "CUT OFF", "cut off")
	r.disturb(r.find("w2"), "", "")
	r.disturb(r.find("w3"), "KILLED", "killed")
	r.mark("w1", timeline.Good, "late write refused")
	r.add(Line{Copy: "w2", Time: at(85), Msg: Ended, Detail: "enough"})
	c := r.chart(at(0), at(100))
	require.Equal(t, []timeline.Bar{
		{From: 10 * ms, To: 20 * ms, Class: timeline.Wait},
		{From: 20 * ms, To: 50 * ms, Deadline: 80 * ms, Label: "5", Released: true},
	}, c.Lanes[0].Bars)
	require.Equal(t, []timeline.Bar{
		{From: 30 * ms, To: 52 * ms, Class: timeline.Wait},
		{From: 52 * ms, To: 85 * ms, Deadline: 90 * ms, Label: "6"},
	}, c.Lanes[1].Bars)
	require.Equal(t, []timeline.Bar{{From: 32 * ms, Class: timeline.Wait}}, c.Lanes[2].Bars)
	require.Equal(t, []timeline.Mark{{At: 70 * ms, Class: timeline.Told, Label: "told", Tip: "session done"}}, c.Lanes[3].Marks)
	require.Equal(t, "late write refused", c.Lanes[0].Marks[0].Label)
	require.Equal(t, "gives up", c.Lanes[1].Marks[0].Label)
	require.Equal(t, "killed", c.Lanes[2].Marks[0].Label)
	require.Len(t, c.Bands, 1)
	require.Equal(t, "w2", c.Bands[0].Lane)
	require.NotZero(t, c.Bands[0].To)
	require.Equal(t, timeline.BrokenExpected, c.Verdict, "w2 and a rival")
	require.Empty(t, r.chart(at(200), at(300)).Lanes[0].Bars, "of the next act")
}

func TestHandoversAreInTheOrderOfTokens(t *testing.T) {
	t.Parallel()
	s := Stage{record: example()}
	all := s.Handovers(time.Time{})
	require.Len(t, all, 1)
	require.Equal(t, "w1", all[0].From.Copy)
	require.Equal(t, "w2", all[0].To.Copy)
	require.Equal(t, 2*time.Millisecond, all[0].Took)
}

func TestRowsSayWhatACopyDoes(t *testing.T) {
	t.Parallel()
	r := example()
	r.places, r.owners = map[string]int64{"b": 8, "a": 6, "c": 7}, map[string]string{"a": "w2", "b": "w3"}
	r.disturb(r.find("w1"), "KILLED", "killed")
	rows := r.rows(screen.Styles{}, "holds")
	r.ordered = true
	require.Contains(t, r.rows(screen.Styles{}, "holds")[0], "w2", "the first in the queue")
	for i, pattern := range []string{`w1  KILLED +no longer in the queue +1`, `w2  HOLDS +token 6, -[\d.]+ s before`, `w3  waits +for w2 \([\d.]+ s\) +0`, `w4  told +that it is over +1`} {
		require.Regexp(t, pattern, rows[i])
	}
	s := Stage{play: &Play{Verb: "holds", Board: &Board{}}, record: r}
	for _, width := range []int{20, 80, 140} {
		for _, l := range s.draw(screen.NewStyles(), width) {
			require.LessOrEqual(t, lipgloss.Width(l), width)
		}
	}
}

func TestKeysPlayScenesUntilTheUserHasSeenEnough(t *testing.T) {
	t.Parallel()
	var played []string
	scene := func(name, key, next string) Scene {
		return Scene{Name: name, Key: key, Intro: name, Play: func(_ context.Context, s *Stage) {
			played = append(played, name)
			s.keys <- next
		}}
	}
	p := &Play{Scenes: []Scene{scene("crash", "c", "p"), scene("pause", "p", "q")}}
	s := &Stage{play: p, record: newRecord(true), keyed: true, keys: make(chan string, 1), Script: Script{Acts: programtest.Unseen(t), Patience: time.Minute}}
	s.press("c")
	s.press("p") // one at a time
	s.playKeys(t.Context())
	require.NoError(t, s.Failed)
	require.Equal(t, []string{"crash", "pause"}, played)
	require.Equal(t, "c crash, p pause, ", p.keys())
}
