package perf_test

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

func TestFiguresAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	all := []perf.Figure{
		{Work: "lock/a", Servers: "none", Metric: "hand-over", Unit: "ms", Stat: "p90", Side: "conclave", Value: 1.25, Rounds: 3, Samples: 12},
		{
			Work: "lock/a", Servers: "none", Metric: "hand-over", Unit: "ms", More: true, Stat: "p90", Side: "rival", Lacks: `says "no", twice`,
			Value: 123456, Ratio: perf.Ratio{Mid: 2.5, Low: 2, High: 3}, Rounds: 3, Samples: 12,
		},
	}
	var b bytes.Buffer
	require.NoError(t, perf.WriteFigures(&b, all))
	require.True(t, strings.HasPrefix(b.String(), "work,servers,metric,"))
	read, err := perf.ReadFigures(&b)
	require.NoError(t, err)
	require.Equal(t, all, read)
}

func TestFiguresThatAreNoneAreRefusedWithTheirRow(t *testing.T) {
	t.Parallel()
	_, err := perf.ReadFigures(strings.NewReader(""))
	require.ErrorContains(t, err, "the columns must be")
	_, err = perf.ReadFigures(strings.NewReader("a,b\n"))
	require.ErrorContains(t, err, "the columns must be")
	var b bytes.Buffer
	require.NoError(t, perf.WriteFigures(&b, figures("a", 2)))
	_, err = perf.ReadFigures(strings.NewReader(strings.Replace(b.String(), ",2,2,", ",two,2,", 1)))
	require.ErrorContains(t, err, "row 3: value: ")
	_, err = perf.ReadFigures(strings.NewReader(strings.Replace(b.String(), "0,0\n", "0,none\n", 1)))
	require.ErrorContains(t, err, "row 2: samples: ")
	_, err = perf.ReadFigures(strings.NewReader(b.String() + "short,row\n"))
	require.ErrorIs(t, err, csv.ErrFieldCount)
}

func TestIncidentsAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	all := []perf.Sample{{"partition/told", "etcd-fast", "margin", "conclave", -2.5}, {"x", "none", "margin", "rival", 0}}
	var b bytes.Buffer
	require.NoError(t, perf.WriteSamples(&b, all))
	read, err := perf.ReadSamples(&b)
	require.NoError(t, err)
	require.Equal(t, all, read)
	_, err = perf.ReadSamples(strings.NewReader("a,b,c,d,e\n1,2,3,4,five\n"))
	require.ErrorContains(t, err, "row 2")
}

func TestWorksThatAreDoneAnewTakeTheirOldPlaces(t *testing.T) {
	t.Parallel()
	recorded := append(figures("a", 2), figures("b", 2)...)
	anew := append(figures("c", 3), figures("a", 3)...)
	want := append(append(figures("a", 3), figures("b", 2)...), figures("c", 3)...)
	require.Equal(t, want, perf.Merge(recorded, anew))
	require.Equal(t, anew, perf.Merge(nil, anew))
	elsewhere := figures("a", 7)
	for i := range elsewhere {
		elsewhere[i].Servers = "etcd-fast"
	}
	require.Equal(t, append(figures("a", 2), elsewhere...), perf.Merge(figures("a", 2), elsewhere), "it is other work on other servers")
}

func TestTheMachineIsKnown(t *testing.T) {
	t.Parallel()
	m, err := perf.ThisMachine(t.Context(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	require.NoError(t, err)
	require.Equal(t, "2026-01-02", m.Date)
	require.Positive(t, m.FsyncP50)
	require.GreaterOrEqual(t, m.FsyncP99, m.FsyncP50)
	var b bytes.Buffer
	require.NoError(t, perf.WriteMachine(&b, m))
	read, err := perf.ReadMachine(&b)
	require.NoError(t, err)
	require.Equal(t, m, read)
	require.True(t, m.Same(read))
	read.CPU += " of another kind"
	require.False(t, m.Same(read))
}

func TestTablesShowTheLeadingFigures(t *testing.T) {
	t.Parallel()
	all := figures("lock/a", 2)
	all[1].Ratio.Low, all[1].Ratio.High, all[1].Lacks = 1.5, 2.25, "this | that"
	second := figures("lock/a", 3)
	for i := range second {
		second[i].Stat = "p99"
	}
	all = append(all, second...)
	var b strings.Builder
	require.NoError(t, perf.WriteMarkdown(&b, all))
	require.Equal(t, `
## lock

| work | on | figure | conclave | compared with | its figure | times better | it lacks |
|---|---|---|---:|---|---:|---:|---|
| a | none | p50 time | 1 ms | rival | 2 ms | 2x (1.5–2.25) | this \| that |
`, b.String())
	b.Reset()
	require.NoError(t, perf.WriteTable(&b, "heading", all))
	require.Contains(t, b.String(), "\nheading\n  p50 time  conclave  1  ms  \n            rival     2  ms  2x (1.5–2.25)\n")
	require.Contains(t, b.String(), "  p99 time  conclave")
}
