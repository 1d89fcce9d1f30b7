package draw

import (
	"slices"
	"strings"

	"github.com/conclave-go/conclave/internal/compare/chart"
	"github.com/conclave-go/conclave/internal/compare/perf"
)

// bars draws a bar for each figure, in the groups that they belong to.
func bars(frame chart.Frame, figures []perf.Figure, group func(perf.Figure) string) ([]byte, error) {
	var groups []string
	for _, f := range figures {
		if !slices.Contains(groups, group(f)) {
			groups = append(groups, group(f))
		}
	}
	var series []chart.BarSeries
	for _, side := range sides(figures) {
		s := chart.BarSeries{Name: side, Muted: strings.HasPrefix(side, raw), Bars: make([]chart.Bar, len(groups))}
		for _, f := range figures {
			if f.Side == side {
				s.Bars[slices.Index(groups, group(f))].Y = f.Value
			}
		}
		series = append(series, s)
	}
	return chart.Bars(frame, groups, series)
}

// redis shows how long the works on Redis take.
func redis(figures []perf.Figure) ([]byte, error) {
	scale := map[string]float64{"µs": .001, "ms": 1, "s": 1000}
	some := where(leading(figures), func(f perf.Figure) bool {
		return strings.HasPrefix(f.Work, "redis/") && scale[f.Unit] > 0
	})
	for i := range some {
		some[i].Value *= scale[some[i].Unit]
	}
	return bars(chart.Frame{
		Title: "Locks on Redis: how long it takes",
		Note:  "The figure that each work leads with; less is better.",
		Y:     chart.Axis{Label: "ms", Log: true},
	}, some, func(f perf.Figure) string {
		what := strings.ReplaceAll(strings.TrimPrefix(f.Work, "redis/"), "/", "\n")
		return what + "\n" + servers(f.Servers)
	})
}
