package draw

import (
	"slices"
	"strings"

	"github.com/conclave-go/conclave/internal/compare/chart"
	"github.com/conclave-go/conclave/internal/compare/perf"
)

// ratios shows Conclave beside the libraries in each work.
func ratios(figures []perf.Figure) ([]byte, error) {
	return forest(chart.Frame{
		Title: "How many times better Conclave is",
		Note: "Right of the line Conclave is better: the ratio of the leading figures of each work. Lines are 90 % intervals.\n" +
			"A * marks a library that gives weaker guarantees. Unless stated otherwise: one etcd member without fsync.",
		X: chart.Axis{Label: "times better", Log: true},
	}, leading(figures), func(f perf.Figure) bool { return !strings.HasPrefix(f.Side, raw) })
}

// limits shows Conclave beside the operations of the server that the work cannot do
// without.
func limits(figures []perf.Figure) ([]byte, error) {
	return forest(chart.Frame{
		Title: "How close Conclave comes to the bare operations",
		Note: "At 1, Conclave equals the bare operations of the server or the memory, which exclude nobody.\n" +
			"Lines are 90 % intervals. Unless stated otherwise: one etcd member without fsync.",
		X: chart.Axis{Label: "ratio", Log: true},
	}, leading(figures), func(f perf.Figure) bool { return strings.HasPrefix(f.Side, raw) })
}

// forest draws the ratios of some sides, under a heading for each kind of work.
func forest(frame chart.Frame, figures []perf.Figure, of func(perf.Figure) bool) ([]byte, error) {
	figures = where(figures, func(f perf.Figure) bool { return f.Ratio.Mid > 0 && of(f) })
	names := sides(figures)
	var rows []chart.Interval
	kind := ""
	for _, f := range figures {
		k, work, _ := strings.Cut(f.Work, "/")
		if k != kind {
			kind = k
			rows = append(rows, chart.Interval{Name: k})
		}
		rows = append(rows, chart.Interval{
			Name: work + elsewhere(f.Servers) + ": " + mark(f),
			Low:  f.Ratio.Low, Mid: f.Ratio.Mid, High: f.Ratio.High,
			Color: colorOf(names, f.Side), Muted: strings.HasPrefix(f.Side, raw),
		})
	}
	if len(rows) == 0 {
		return nil, chart.ErrNothing
	}
	return chart.Intervals(frame, rows)
}

// mark returns the name of a side, marked if it gives less.
func mark(f perf.Figure) string {
	if f.Lacks != "" && !strings.HasPrefix(f.Side, raw) {
		return f.Side + " *"
	}
	return f.Side
}

// colorOf returns the colour of a side among names. The first colour is Conclave's.
func colorOf(names []string, side string) int {
	return 1 + slices.Index(names, side)%(chart.Colors-1)
}

// elsewhere names servers that are not the usual ones.
func elsewhere(name string) string {
	if name == perf.EtcdFast.String() {
		return ""
	}
	return ", " + servers(name)
}

// servers returns a short name of servers for a label.
func servers(name string) string {
	switch name {
	case perf.None.String():
		return "in memory"
	case perf.EtcdFast.String():
		return "1 member"
	case perf.EtcdDurable.String():
		return "1 member, fsync"
	case perf.EtcdCluster.String():
		return "3 members, fsync"
	case perf.RedisOne.String():
		return "1 node"
	case perf.RedisFive.String():
		return "5 nodes"
	default:
		return name
	}
}
