package chart_test

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/chart"
)

// texts returns what a chart says, in the order in which it is drawn; it has to be
// well-formed.
func texts(t *testing.T, svg []byte) (all []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(string(svg)))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		if text, ok := token.(xml.CharData); ok && strings.TrimSpace(string(text)) != "" {
			all = append(all, string(text))
		}
	}
}

func logLog() chart.Frame {
	return chart.Frame{
		Title: "a < b", Note: "the first line\nthe second",
		X: chart.Axis{Label: "contenders", Log: true}, Y: chart.Axis{Label: "ms", Log: true},
	}
}

func two() []chart.Series {
	return []chart.Series{
		{Name: "conclave", Points: []chart.Point{{X: 1000, Y: 20, Low: 10, High: 90}, {X: 2, Y: .5}}},
		{Name: "raw", Points: []chart.Point{{X: 2, Y: .1}, {X: 1000, Y: .1}}, Muted: true},
	}
}

func TestLinesSayWhatTheyShow(t *testing.T) {
	t.Parallel()
	svg, err := chart.Lines(logLog(), two())
	require.NoError(t, err)
	all := texts(t, svg)
	require.Subset(t, all, []string{"a < b", "the first line", "the second", "contenders", "ms", "conclave", "raw", "10", "100", "1,000", "0.1", "1"})
	require.NotContains(t, all, "0.2", "there are powers of ten enough")
	require.Contains(t, string(svg), "'Liberation Sans',Arial")
	require.NotContains(t, strings.ReplaceAll(string(svg), "'Liberation Sans',Arial", ""), "Liberation")
}

func TestTheSameFiguresGiveTheSameBytes(t *testing.T) {
	t.Parallel()
	for range 3 {
		one, err := chart.Lines(logLog(), two())
		require.NoError(t, err)
		other, err := chart.Lines(logLog(), two())
		require.NoError(t, err)
		require.Equal(t, one, other)
		strips := []chart.Strip{{Name: "x", Values: []float64{-1, 2, 3, 3, 3}}}
		one, err = chart.Dots(chart.Frame{}, strips)
		require.NoError(t, err)
		other, err = chart.Dots(chart.Frame{}, strips)
		require.NoError(t, err)
		require.Equal(t, one, other)
	}
}

func TestPointsAreJoinedInTheOrderOfTheirX(t *testing.T) {
	t.Parallel()
	svg, err := chart.Lines(chart.Frame{}, []chart.Series{{Name: "x", Points: []chart.Point{{X: 3, Y: 1}, {X: 1, Y: 1}, {X: 2, Y: 1}}}})
	require.NoError(t, err)
	line := regexp.MustCompile(`d="M([\d.]+),([\d.]+)L([\d.]+),([\d.]+)L([\d.]+),([\d.]+)" style="fill:none;stroke:#0072B2`).FindStringSubmatch(string(svg))
	require.NotNil(t, line)
	require.IsIncreasing(t, []float64{parse(t, line[1]), parse(t, line[3]), parse(t, line[5])})
}

func TestALinearAxisBeginsWithZeroAndHasRoundNumbers(t *testing.T) {
	t.Parallel()
	svg, err := chart.Lines(chart.Frame{}, []chart.Series{{Name: "x", Points: []chart.Point{{X: 0, Y: 31_000}, {X: 12, Y: 42_000}}}})
	require.NoError(t, err)
	all := texts(t, svg)
	require.Subset(t, all, []string{"0", "10,000", "20,000", "30,000", "40,000", "2", "4", "12"})
	require.NotContains(t, all, "−0")
	svg, err = chart.Lines(chart.Frame{}, []chart.Series{{Name: "x", Points: []chart.Point{{X: 0, Y: -1500}, {X: 1, Y: .5}}}})
	require.NoError(t, err)
	require.Contains(t, texts(t, svg), "−1,400")
}

func TestANarrowLogarithmicAxisHasMoreNumbers(t *testing.T) {
	t.Parallel()
	svg, err := chart.Lines(logLog(), []chart.Series{{Name: "x", Points: []chart.Point{{X: 1, Y: 3}, {X: 1000, Y: 6}}}})
	require.NoError(t, err)
	require.Contains(t, texts(t, svg), "5")
}

func TestManyRowsHaveTheirScaleAboveAsWell(t *testing.T) {
	t.Parallel()
	for rows, scales := range map[int]int{20: 1, 21: 2} {
		svg, err := chart.Intervals(chart.Frame{X: chart.Axis{Log: true}}, slices.Repeat([]chart.Interval{{Name: "row", Low: .1, Mid: 1.5, High: 100}}, rows))
		require.NoError(t, err)
		count := 0
		for _, s := range texts(t, svg) {
			if s == "10" {
				count++
			}
		}
		require.Equal(t, scales, count)
	}
}

func TestIntervalsStandInRowsWithTheirNumbers(t *testing.T) {
	t.Parallel()
	svg, err := chart.Intervals(chart.Frame{X: chart.Axis{Log: true}}, []chart.Interval{
		{Name: "locks"},
		{Name: "faster", Low: 1.5, Mid: 2.04, High: 30},
		{Name: "as fast", Low: .5, Mid: 1, High: 1},
		{Name: "once", Low: 1234, Mid: 1234, High: 1234},
	})
	require.NoError(t, err)
	require.Subset(t, texts(t, svg), []string{"locks", "faster", "2.0  (1.50–30)", "1.00  (0.50–1.00)", "1,234"})
}

func TestBarsStandInGroups(t *testing.T) {
	t.Parallel()
	svg, err := chart.Bars(chart.Frame{}, []string{"one", "two"}, []chart.BarSeries{
		{Name: "a", Bars: []chart.Bar{{Y: 1, Low: .5, High: 2}, {}}},
		{Name: "b", Bars: []chart.Bar{{Y: 3}, {Y: 4}}},
	})
	require.NoError(t, err)
	require.Subset(t, texts(t, svg), []string{"one", "two", "a", "b"})
	require.Equal(t, 1, strings.Count(string(svg), `Z" style="fill:#0072B2`), "zero is no bar")
	require.Equal(t, 2, strings.Count(string(svg), `Z" style="fill:#D55E00`))
}

func TestDotsAreAllThere(t *testing.T) {
	t.Parallel()
	svg, err := chart.Dots(chart.Frame{}, []chart.Strip{{Name: "x", Note: "1 of 3", Values: []float64{-1, 2, 3}}})
	require.NoError(t, err)
	require.Subset(t, texts(t, svg), []string{"x", "1 of 3"})
	require.Equal(t, 3, strings.Count(string(svg), "fill-opacity:0.2"))
}

func TestWhatCannotBeDrawnIsRefused(t *testing.T) {
	t.Parallel()
	lines := func(f chart.Frame, p chart.Point) error {
		_, err := chart.Lines(f, []chart.Series{{Name: "x", Points: []chart.Point{p}}})
		return err
	}
	require.EqualError(t, lines(logLog(), chart.Point{X: 0, Y: 1}), "chart: x: 0: want a value above 0 on a logarithmic axis")
	require.ErrorContains(t, lines(logLog(), chart.Point{X: 1, Y: 1, Low: -1, High: 2}), "x at 1: -1")
	require.ErrorContains(t, lines(chart.Frame{}, chart.Point{X: 1, Y: math.NaN()}), "want a finite value")
	require.ErrorContains(t, lines(chart.Frame{}, chart.Point{X: math.Inf(1), Y: 1}), "want a finite value")
	_, err := chart.Bars(chart.Frame{}, []string{"a", "b"}, []chart.BarSeries{{Name: "x", Bars: []chart.Bar{{Y: 1}}}})
	require.EqualError(t, err, "chart: x: 1 bars: want one for each of 2 groups")
	_, err = chart.Bars(chart.Frame{}, []string{"a"}, []chart.BarSeries{{Name: "x", Bars: []chart.Bar{{Y: -1}}}})
	require.EqualError(t, err, "chart: x in a: -1: want a value of at least 0")
	_, err = chart.Intervals(chart.Frame{X: chart.Axis{Log: true}}, []chart.Interval{{Name: "x", Mid: 1, High: 2}})
	require.ErrorContains(t, err, "want a value above 0")
}

func TestNothingIsNoChart(t *testing.T) {
	t.Parallel()
	_, err := chart.Lines(chart.Frame{}, []chart.Series{{Name: "x"}})
	require.ErrorIs(t, err, chart.ErrNothing)
	_, err = chart.Bars(chart.Frame{}, nil, nil)
	require.ErrorIs(t, err, chart.ErrNothing)
	_, err = chart.Intervals(chart.Frame{}, []chart.Interval{{Name: "heading"}})
	require.ErrorIs(t, err, chart.ErrNothing)
	_, err = chart.Dots(chart.Frame{}, []chart.Strip{{Name: "x"}})
	require.ErrorIs(t, err, chart.ErrNothing)
}
