package perf_test

import (
	"errors"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

// figures are those of a work whose other side has a ratio.
func figures(work string, ratio float64) []perf.Figure {
	f := perf.Figure{Work: work, Servers: "none", Metric: "time", Unit: "ms", Stat: "p50", Side: perf.Ours, Value: 1}
	other := f
	other.Side, other.Value, other.Ratio.Mid = "rival", ratio, ratio
	return []perf.Figure{f, other}
}

func TestARatioFarBelowTheRecordedOneIsARegression(t *testing.T) {
	t.Parallel()
	recorded := figures("a", 2)
	require.Empty(t, perf.Regressions(recorded, figures("a", 1.41)))
	require.Empty(t, perf.Regressions(recorded, figures("a", 9)))
	require.Empty(t, perf.Regressions(recorded, figures("b", .1)), "it is not recorded")
	all := perf.Regressions(recorded, figures("a", 1))
	require.Len(t, all, 1)
	require.Equal(t, "a on none, p50 time: 1.00 times better than rival, recorded 2.00: 50 % less", all[0].String())
}

func TestOnlyTheLeadingStatisticCounts(t *testing.T) {
	t.Parallel()
	recorded, run := figures("a", 2), figures("a", 2)
	for _, f := range figures("a", 1) {
		f.Stat = "p99"
		run = append(run, f)
		f.Ratio.Mid *= 2
		recorded = append(recorded, f)
	}
	require.Empty(t, perf.Regressions(recorded, run))
}

func TestRatiosBeyondMeasureCountTheSame(t *testing.T) {
	t.Parallel()
	require.Empty(t, perf.Regressions(figures("a", 900), figures("a", 30)))
	require.Len(t, perf.Regressions(figures("a", 900), figures("a", 3)), 1)
	nothing := figures("a", 0) // Conclave does without what the other needs
	nothing[0].Value, nothing[1].Value = 0, 2
	require.Empty(t, perf.Regressions(nothing, nothing))
	require.Len(t, perf.Regressions(nothing, figures("a", 2)), 1)
	require.Empty(t, perf.Regressions(figures("a", 2), nothing))
}

// runs returns a function that gives the figures of one run after the other, and notes
// what was to be measured.
func runs(asked *[][]string, all ...[]perf.Figure) func([]perf.Work) ([]perf.Figure, error) {
	return func(works []perf.Work) ([]perf.Figure, error) {
		var names []string
		for _, w := range works {
			names = append(names, w.Name)
		}
		*asked = append(*asked, names)
		return all[len(*asked)-1], nil
	}
}

func TestOnlyWhatRegressesTwiceFails(t *testing.T) {
	t.Parallel()
	both := func(a, b float64) []perf.Figure { return append(figures("a", a), figures("b", b)...) }
	works := []perf.Work{{Name: "a"}, {Name: "b"}, {Name: "not recorded"}}
	for name, c := range map[string]struct {
		second []perf.Figure
		want   int
	}{
		"once":  {figures("b", 2), 0},
		"twice": {figures("b", 1), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked [][]string
			all, err := perf.Check(both(2, 2), works, runs(&asked, both(2, 1), c.second))
			require.NoError(t, err)
			require.Len(t, all, c.want)
			require.Equal(t, [][]string{{"a", "b"}, {"b"}}, asked)
		})
	}
}

func TestAnotherRegressionTheSecondTimeIsChance(t *testing.T) {
	t.Parallel()
	beside := func(one, other float64) []perf.Figure {
		all := append(figures("a", one), figures("a", other)[1])
		all[2].Side = "other rival"
		return all
	}
	var asked [][]string
	all, err := perf.Check(beside(2, 2), []perf.Work{{Name: "a"}}, runs(&asked, beside(2, 1), beside(1, 2)))
	require.NoError(t, err)
	require.Empty(t, all)
	require.Len(t, asked, 2)
}

func TestNothingIsMeasuredAgainWithoutARegression(t *testing.T) {
	t.Parallel()
	var asked [][]string
	all, err := perf.Check(figures("a", 2), []perf.Work{{Name: "a"}}, runs(&asked, figures("a", 2)))
	require.NoError(t, err)
	require.Empty(t, all)
	require.Len(t, asked, 1)
}

func TestACheckSaysWhatFailedAndWhenThereIsNothingToCompare(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken on purpose")
	_, err := perf.Check(figures("a", 2), []perf.Work{{Name: "a"}}, func([]perf.Work) ([]perf.Figure, error) { return nil, broken })
	require.ErrorIs(t, err, broken)
	_, err = perf.Check(figures("a", 2), []perf.Work{{Name: "b"}}, nil)
	require.EqualError(t, err, "perf: none of the works is recorded")
}

func TestWorksAreSelectedByNameAndServers(t *testing.T) {
	t.Parallel()
	all := []perf.Work{{Name: "a", On: perf.EtcdFast, Quick: 1}, {Name: "a", On: perf.EtcdCluster}, {Name: "b"}}
	require.Equal(t, all[1:2], perf.Runner{}.Select(all, regexp.MustCompile("a on etcd-cluster")))
	require.Equal(t, all[:1], perf.Runner{Quick: true}.Select(all, regexp.MustCompile("")))
	require.Equal(t, all[:2], perf.Runner{}.Select(all, regexp.MustCompile("^a")))
}
