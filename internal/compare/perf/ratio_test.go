package perf_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

// compared returns the second side's figure of work whose sides measure, round by round,
// what is given.
func compared(t *testing.T, m perf.Metric, ours, theirs [][]float64) perf.Figure {
	t.Helper()
	side := func(name string, rounds [][]float64) perf.Side {
		n := -1 // a round that does not count comes first
		return perf.Side{Name: name, Round: func(context.Context) (perf.Samples, error) {
			n++
			return perf.Samples{m.Name: rounds[max(n-1, 0)]}, nil
		}}
	}
	m.Name = "m"
	w := perf.Work{
		Name: "test/compared", Metrics: []perf.Metric{m}, Rounds: len(ours),
		Begin: func(context.Context, *perf.Env) ([]perf.Side, func() error, error) {
			return []perf.Side{side(perf.Ours, ours), side("rival", theirs)}, nil, nil
		},
	}
	if len(ours) == 1 {
		ours, theirs = append(ours, ours[0]), append(theirs, theirs[0])
	}
	measured, err := perf.Runner{}.One(t.Context(), pool(t), w)
	require.NoError(t, err)
	return measured.Figures()[1]
}

func TestARatioSaysHowManyTimesAsGoodConclaveIs(t *testing.T) {
	t.Parallel()
	less := perf.Metric{Stats: []perf.Stat{perf.P50}}
	more := perf.Metric{Stats: []perf.Stat{perf.P50}, More: true}
	two, six := [][]float64{{2, 2}, {2, 2}}, [][]float64{{6, 6}, {6, 6}}
	require.Equal(t, perf.Ratio{Mid: 3, Low: 3, High: 3}, compared(t, less, two, six).Ratio)
	require.InDelta(t, 1./3, compared(t, more, two, six).Ratio.Mid, 1e-12)
	require.Equal(t, perf.Ratio{Mid: 3, Low: 3, High: 3}, compared(t, more, six, two).Ratio)
}

func TestThereIsNoRatioToZeroOrLess(t *testing.T) {
	t.Parallel()
	m := perf.Metric{Stats: []perf.Stat{perf.Mean}}
	for _, theirs := range [][][]float64{{{0}, {0}}, {{-3}, {-3}}} {
		require.Zero(t, compared(t, m, [][]float64{{1}, {1}}, theirs).Ratio)
		require.Zero(t, compared(t, m, theirs, [][]float64{{1}, {1}}).Ratio)
	}
}

func TestTheIntervalShowsHowMuchRoundsDiffer(t *testing.T) {
	t.Parallel()
	m := perf.Metric{Stats: []perf.Stat{perf.Mean}}
	ours := [][]float64{{1}, {1}, {1}, {1}, {1}, {1}, {1}, {1}}
	steady := compared(t, m, ours, [][]float64{{2}, {2}, {2}, {2}, {2}, {2}, {2}, {2}}).Ratio
	require.Equal(t, perf.Ratio{Mid: 2, Low: 2, High: 2}, steady)
	varied := compared(t, m, ours, [][]float64{{1}, {3}, {1}, {3}, {1}, {3}, {1}, {3}}).Ratio
	require.InDelta(t, 2, varied.Mid, 1e-12)
	require.InDelta(t, 1.4, varied.Low, .3)
	require.InDelta(t, 2.6, varied.High, .3)
	// What both sides go through in a round is no difference between them.
	together := [][]float64{{1}, {3}, {1}, {3}, {1}, {3}, {1}, {3}}
	require.Equal(t, perf.Ratio{Mid: 1, Low: 1, High: 1}, compared(t, m, together, together).Ratio)
}

func TestTheIntervalShowsHowMuchSamplesOfOneRoundDiffer(t *testing.T) {
	t.Parallel()
	var varied []float64
	for i := range 30 {
		varied = append(varied, float64(1+i%3))
	}
	r := compared(t, perf.Metric{Stats: []perf.Stat{perf.Mean}}, [][]float64{{1}}, [][]float64{varied}).Ratio
	require.InDelta(t, 2, r.Mid, 1e-12)
	require.Less(t, r.Low, 1.9)
	require.Greater(t, r.Low, 1.5)
	require.Greater(t, r.High, 2.1)
	require.Less(t, r.High, 2.5)
}

func TestStatisticsOfSamples(t *testing.T) {
	t.Parallel()
	ours := [][]float64{{1}}
	var to100 []float64
	for i := range 101 {
		to100 = append(to100, float64(i))
	}
	for stat, want := range map[perf.Stat]float64{perf.P50: 50, perf.P90: 90, perf.P99: 99, perf.Mean: 50} {
		require.InDelta(t, want, compared(t, perf.Metric{Stats: []perf.Stat{stat}}, ours, [][]float64{to100}).Value, 1e-9, stat)
	}
	require.InDelta(t, 1.5, compared(t, perf.Metric{Stats: []perf.Stat{perf.P50}}, ours, [][]float64{{2, 1}}).Value, 1e-9)
}
