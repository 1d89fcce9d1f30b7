package report_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/report"
	"github.com/conclave-go/conclave/internal/timeline"
)

func TestChartHasWhatAProcessDid(t *testing.T) {
	t.Parallel()
	r := report.NewRecorder(1000, "w1", "w2")
	r.Process("w1", 47)
	r.Waits("w1", 1010)
	r.Waits("w1", 1015)
	r.Holds("w1", 1020, "5", 1100)
	r.Until("w1", 1150)
	r.Until("w1", 1140)
	r.Released("w1", 1030)
	r.Holds("w1", 1040, "7", 1160)
	r.Disturbed("w1", 1050, "cut off")
	r.Until("w1", 1155)
	r.Lost("w1", 1160, "lock: lost")
	r.Healed("w1", 1170)
	r.Wrote("w1", 1175, false, "")
	r.Holds("w2", 1180, "9", 0)
	r.Mark("w2", 1185, timeline.Fault, "killed", "")
	r.Dies("w2", 1185)
	r.Holds("nobody", 1190, "9", 0)
	c := r.Chart(1200, "cut off", "told in time", false)
	assert.Equal(t, timeline.Chart{
		Title: "cut off", Outcome: "told in time", Verdict: timeline.Held, Length: 200,
		Bands: []timeline.Band{{From: 50, To: 170, Label: "cut off", Lane: "w1"}},
		Lanes: []timeline.Lane{
			{
				Name: "w1", Text: "process 47",
				Bars: []timeline.Bar{
					{From: 10, To: 20, Class: timeline.Wait},
					{From: 20, To: 30, Deadline: 150, Released: true, Label: "5"},
					{From: 40, To: 160, Deadline: 160, Label: "7"},
				},
				Marks: []timeline.Mark{{At: 160, Label: "told", Class: timeline.Told, Tip: "lock: lost"}, {At: 175, Label: "late write refused", Class: timeline.Good}},
			},
			{
				Name: "w2", Bars: []timeline.Bar{{From: 180, To: 185, Label: "9"}},
				Marks: []timeline.Mark{{At: 185, Label: "killed", Class: timeline.Fault}},
			},
		},
	}, c)
}

func TestNextChartBeginsWithWhatHasNotEnded(t *testing.T) {
	t.Parallel()
	r := report.NewRecorder(0, "w1", "w2")
	r.Holds("w1", 10, "5", 300)
	r.Disturbed("w1", 20, "stopped")
	r.Waits("w2", 15)
	r.Chart(100, "first", "", false)
	r.Holds("w2", 150, "8", 0)
	r.Lost("w1", 350, "late")
	r.Healed("w1", 340)
	c := r.Chart(400, "second", "", false)
	assert.Equal(t, []timeline.Bar{{From: 1, To: 250, Deadline: 200, Label: "5"}}, c.Lanes[0].Bars)
	assert.Equal(t, []timeline.Bar{{From: 1, To: 50, Class: timeline.Wait}, {From: 50, Label: "8"}}, c.Lanes[1].Bars)
	assert.Equal(t, []timeline.Band{{From: 1, To: 240, Label: "stopped", Lane: "w1"}}, c.Bands)
	assert.Equal(t, timeline.Broken, c.Verdict, "both held from 50 to 200")
}

func TestVerdictIsAboutOverlapsAndLateWrites(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		play     func(*report.Recorder)
		expected bool
		want     timeline.Verdict
	}{
		"nothing":          {func(*report.Recorder) {}, true, timeline.Held},
		"two":              {func(r *report.Recorder) { r.Holds("w1", 5, "1", 0); r.Holds("w2", 9, "2", 0) }, false, timeline.Broken},
		"two, expected":    {func(r *report.Recorder) { r.Holds("w1", 5, "1", 0); r.Holds("w2", 9, "2", 0) }, true, timeline.BrokenExpected},
		"after a deadline": {func(r *report.Recorder) { r.Holds("w1", 5, "1", 8); r.Holds("w2", 9, "2", 0) }, false, timeline.Held},
		"reclaimed": {func(r *report.Recorder) {
			r.Holds("w1", 5, "1", 0)
			r.Released("w1", 7)
			r.Reclaimed("w1")
			r.Holds("w2", 9, "2", 0)
		}, false, timeline.Broken},
		"accepted":          {func(r *report.Recorder) { r.Wrote("w1", 5, true, "") }, false, timeline.Broken},
		"refused, unknown":  {func(r *report.Recorder) { r.Wrote("w1", 5, false, ""); r.Wrote("w1", 6, false, "lost") }, false, timeline.Held},
		"one after another": {func(r *report.Recorder) { r.Holds("w1", 5, "1", 0); r.Released("w1", 8); r.Holds("w2", 9, "2", 0) }, false, timeline.Held},
	} {
		r := report.NewRecorder(0, "w1", "w2")
		c.play(r)
		assert.Equal(t, c.want, r.Chart(20, "", "", c.expected).Verdict, name)
	}
}

func TestRecorderKeepsABoundedNumberAndSaysSo(t *testing.T) {
	t.Parallel()
	r := report.NewRecorder(0, "w1")
	for i := range int64(150_000) {
		at := i * int64(time.Millisecond)
		r.Holds("w1", at+1, fmt.Sprint(i), at+10)
		r.Released("w1", at+2)
	}
	c := r.Chart(int64(time.Hour), "", "", false)
	assert.Len(t, c.Lanes[0].Bars, 100_000)
	assert.Equal(t, []string{"After 1m40s no more was recorded."}, c.Notes)
	r.Holds("w1", int64(time.Hour)+5, "x", 0)
	assert.Len(t, r.Chart(int64(2*time.Hour), "", "", false).Lanes[0].Bars, 1, "the next act is")
}

func TestNilRecorderRecordsNothing(t *testing.T) {
	t.Parallel()
	var r *report.Recorder
	r.Process("w1", 1)
	r.Waits("w1", 1)
	r.Holds("w1", 2, "5", 9)
	r.Until("w1", 10)
	r.Released("w1", 3)
	r.Reclaimed("w1")
	r.Lost("w1", 4, "")
	r.Wrote("w1", 5, false, "")
	r.Disturbed("w1", 5, "cut off")
	r.Healed("w1", 6)
	r.Dies("w1", 7)
	r.Restart(8)
	assert.Empty(t, r.Chart(9, "x", "", false))
}

func page() timeline.Page { return timeline.Page{Title: "x", Charts: []timeline.Chart{{}}} }

func TestFileIsWrittenInPlaceOfWhatWasThere(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "p.html")
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("stale;"), 100_000), 0o600))
	f, err := report.Open(path)
	require.NoError(t, err)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Len(t, before, 600_000, "until it is saved")
	var out bytes.Buffer
	require.NoError(t, f.Save(page(), &out))
	require.NoError(t, f.Close())
	assert.Equal(t, "\nThe time line is in "+path+"\n", out.String())
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, strings.HasSuffix(strings.TrimSpace(string(after)), "</html>"))
	assert.NotContains(t, string(after), "stale;")
}

func TestFileOfNothingIsLeftAsItWas(t *testing.T) {
	t.Parallel()
	made, old := filepath.Join(t.TempDir(), "p.html"), filepath.Join(t.TempDir(), "q.html")
	require.NoError(t, os.WriteFile(old, []byte("old"), 0o600))
	for _, path := range []string{made, old} {
		f, err := report.Open(path)
		require.NoError(t, err)
		require.NoError(t, f.Save(timeline.Page{}, nil))
		require.NoError(t, f.Close())
	}
	assert.NoFileExists(t, made)
	kept, err := os.ReadFile(old)
	require.NoError(t, err)
	assert.Equal(t, "old", string(kept))
}

func TestOpenRefusesWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "no", "p.html")} {
		_, err := report.Open(path)
		require.ErrorContains(t, err, "-html: open "+path)
	}
}

func TestNoPathIsNowhere(t *testing.T) {
	t.Parallel()
	f, err := report.Open("")
	require.NoError(t, err)
	assert.False(t, f.Wanted())
	require.NoError(t, f.Save(page(), nil))
	require.NoError(t, f.Close())
}

func TestPageOfManyActsHasThoseThatBrokeSomething(t *testing.T) {
	t.Parallel()
	charts := make([]timeline.Chart, 300)
	table := &timeline.Table{Rows: make([]timeline.Row, 300)}
	for i := range charts {
		charts[i] = timeline.Chart{ID: fmt.Sprint(i), Verdict: timeline.Held}
		table.Rows[i].Cells = []timeline.Cell{{Chart: fmt.Sprint(i)}}
	}
	charts[250].Verdict = timeline.Broken
	p := report.Page("x", "y", table, charts)
	require.Len(t, p.Charts, 51)
	assert.Equal(t, "250", p.Charts[50].ID)
	assert.Contains(t, p.Intro, "of 300")
	require.NoError(t, p.Write(&bytes.Buffer{}), "no cell leads to an act that is left out")
	assert.Equal(t, "250", p.Table.Rows[250].Cells[0].Chart)
}
