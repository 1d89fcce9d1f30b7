package capacity_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/capacity"
)

// figures are rows of all groups.
func figures() []capacity.Row {
	var rows []capacity.Row
	for _, n := range []int{0, 100, 550, 1000} {
		rows = append(rows,
			capacity.Row{Group: capacity.Loads, Name: "session with client", N: n, Quantity: capacity.ClientMemory, Unit: "B", Value: 60_000 * float64(n)},
			capacity.Row{Group: capacity.Loads, Name: "session with client", N: n, Quantity: capacity.Requests, Unit: "1/s", Value: .6 * float64(n)},
			capacity.Row{Group: capacity.Loads, Name: "hold", N: n, Quantity: capacity.ClientMemory, Unit: "B", Value: 3000 * float64(n)},
			capacity.Row{Group: capacity.Loads, Name: "session", N: n, Quantity: capacity.ClientMemory, Unit: "B", Value: 24_000 * float64(n)},
			capacity.Row{Group: capacity.Loads, Name: "session", N: n, Quantity: capacity.ServerCPU, Unit: "ms/s", Value: float64(n % 4)}) // no line
	}
	rows = append(rows,
		capacity.Row{Group: capacity.Loads, Name: "session", N: 10_000, Quantity: capacity.LostCount, Value: 9876}, // and no costs
		capacity.Row{Group: capacity.Operations, Name: "Lock and Unlock, free", N: 10, Quantity: capacity.OpRequests, Value: 2},
		capacity.Row{Group: capacity.Operations, Name: "Lock and Unlock, free", N: 10, Quantity: capacity.OpRevisions, Value: 2},
		capacity.Row{Group: capacity.History, Name: "compacted", N: 12_345, Quantity: capacity.InUse, Unit: "B", Value: 4096})
	for i, throughput := range []float64{1000, 2000, 2100} {
		rows = append(rows,
			capacity.Row{Group: capacity.Stairs, Name: capacity.Locking, N: 1 << i, Quantity: capacity.Throughput, Unit: "1/s", Value: throughput},
			capacity.Row{Group: capacity.Stairs, Name: capacity.Locking, N: 1 << i, Quantity: capacity.P50, Unit: "ms", Value: .5},
			capacity.Row{Group: capacity.Stairs, Name: capacity.Locking, N: 1 << i, Quantity: capacity.P99, Unit: "ms", Value: float64(i + 1)},
			capacity.Row{Group: capacity.Stairs, Name: capacity.Locking, N: 1 << i, Quantity: capacity.LostCount, Value: float64(i)})
	}
	return rows
}

func TestRowsAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	require.NoError(t, capacity.Write(&file, figures()))
	rows, err := capacity.Read(&file)
	require.NoError(t, err)
	require.Equal(t, figures(), rows)
}

func TestWhatIsMeasuredAgainReplacesWhatWasMeasured(t *testing.T) {
	t.Parallel()
	row := func(name string, n int, value float64) capacity.Row {
		return capacity.Row{Group: capacity.Loads, Name: name, N: n, Quantity: "q", Value: value}
	}
	old := []capacity.Row{row("a", 1, 1), row("b", 1, 1), row("b", 2, 1), row("c", 1, 1)}
	again := []capacity.Row{row("d", 1, 2), row("b", 1, 2)}
	want := []capacity.Row{row("a", 1, 1), row("b", 1, 2), row("c", 1, 1), row("d", 1, 2)}
	require.Equal(t, want, capacity.Merge(old, again))
	require.Equal(t, old, capacity.Merge(old, nil))
	require.Equal(t, old, capacity.Merge(nil, old))
	operation := capacity.Row{Group: capacity.Operations, Name: "a"}
	require.Equal(t, append(old, operation), capacity.Merge(old, []capacity.Row{operation}), "another group is another subject")
}

func TestReadSaysWhatIsWrongWithAFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":      "the first line must be",
		"a,b\n": "the first line must be",
		"group,name,n,quantity,unit,value\nload,x,many,q,B,1\n": `line 2: n: `,
		"group,name,n,quantity,unit,value\nload,x,1,q,B,much\n": `line 2: value: `,
	} {
		_, err := capacity.Read(strings.NewReader(text))
		require.ErrorContains(t, err, want, text)
	}
}

func TestStepsAreThoseOfTheRows(t *testing.T) {
	t.Parallel()
	require.Equal(t, capacity.Step{Load: 4, Throughput: 2100, P50: .5, P99: 3, Lost: 2}, capacity.Steps(figures(), capacity.Locking)[2])
}

func TestTheReportHasModelsOperationsAndKnee(t *testing.T) {
	t.Parallel()
	var page bytes.Buffer
	require.NoError(t, capacity.Markdown(&page, figures()))
	for _, want := range []string{
		"| session | 24 kB |",                // what one costs
		"· |",                                // a cost that is no line
		"| Lock and Unlock, free | 2 | 2 |",  // an operation
		"| client memory | 120 kB |",         // a process of the fleet: a client with a session, and 20 holds
		"| requests/s | 0.6 | 300 | 1,300 |", // 500 of them, and with 500 locks a second
		"| revisions in an hour |  |  | 3,600,000 |",
		"### The store after 12,345 revisions",                 //
		"The knee of lock and unlock: 2,000 per second with 2", //
		"| 4 | 2,100 | 500 µs | 3 ms | 2 |",                    //
	} {
		require.Contains(t, page.String(), want)
	}
	var terminal bytes.Buffer
	require.NoError(t, capacity.Text(&terminal, figures()))
	require.Contains(t, terminal.String(), "Measured: session")
	require.Contains(t, terminal.String(), "9,876", "sessions that were lost")
	require.NotContains(t, page.String(), "Measured: session", "is in the file of figures")
}

func TestAStepAtWhichAllWasLostIsNotDrawn(t *testing.T) {
	t.Parallel()
	lost := capacity.Row{Group: capacity.Stairs, Name: capacity.Locking, N: 8, Quantity: capacity.Throughput, Unit: "1/s"}
	charts, err := capacity.Charts(append(figures(), lost))
	require.NoError(t, err)
	require.Len(t, charts, 3)
}

func TestNothingMeasuredIsNothingReported(t *testing.T) {
	t.Parallel()
	var page bytes.Buffer
	require.NoError(t, capacity.Markdown(&page, nil))
	require.Empty(t, page.String())
	charts, err := capacity.Charts(nil)
	require.NoError(t, err)
	require.Empty(t, charts)
}

func TestChartsAreTheSameForTheSameFigures(t *testing.T) {
	t.Parallel()
	first, err := capacity.Charts(figures())
	require.NoError(t, err)
	require.Len(t, first, 3)
	again, err := capacity.Charts(figures())
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Contains(t, string(first["capacity-throughput.svg"]), "knee at 2")
}
