package report_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/report"
	"github.com/conclave-go/conclave/internal/timeline"
)

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
