package draw

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-go/conclave/internal/compare/chart"
	"github.com/conclave-go/conclave/internal/compare/perf"
)

// contended begins the names of the works in which a number of clients contend for one
// lock, and underWrites those in which others write meanwhile.
const (
	contended   = "lock/contended/"
	underWrites = "lock/writes/"
)

// byContenders returns the figures of a metric on one member without fsync.
func byContenders(figures []perf.Figure, metric string) []perf.Figure {
	return where(figures, func(f perf.Figure) bool {
		return strings.HasPrefix(f.Work, contended) && f.Servers == perf.EtcdFast.String() && f.Metric == metric
	})
}

// handOver shows how long hand-overs take by the number of contenders.
func handOver(figures []perf.Figure) ([]byte, error) {
	some := byContenders(figures, "hand-over")
	return chart.Lines(chart.Frame{
		Title: "From one client's Unlock to the next one's Lock",
		Note: "Thick lines are medians, thin ones the 99th percentiles. One etcd member without fsync.\n" +
			"raw: from the call of Delete to the event of a watch; its median.",
		X: chart.Axis{Label: "clients that contend", Log: true}, Y: chart.Axis{Label: "ms", Log: true},
	}, lines(some, func(side string, at map[string]float64) chart.Point {
		if strings.HasPrefix(side, raw) {
			return chart.Point{Y: at["p50"]}
		}
		return chart.Point{Y: at["p50"], Low: at["p50"], High: max(at["p50"], at["p99"])}
	}))
}

// throughput shows how often a lock is granted by the number of contenders.
func throughput(figures []perf.Figure) ([]byte, error) {
	some := byContenders(figures, "throughput")
	return chart.Lines(chart.Frame{
		Title: "How often clients are granted a lock that all contend for",
		Note:  "Medians of the rounds. One etcd member without fsync.",
		X:     chart.Axis{Label: "clients that contend", Log: true}, Y: chart.Axis{Label: "grants per second", Log: true},
	}, lines(some, func(_ string, at map[string]float64) chart.Point { return chart.Point{Y: at["p50"]} }))
}

// lines returns a line for each side: a point, made of the statistics, for each number at
// the end of a work's name.
func lines(figures []perf.Figure, point func(side string, stats map[string]float64) chart.Point) []chart.Series {
	var all []chart.Series
	for _, side := range sides(figures) {
		s := chart.Series{Name: side, Muted: strings.HasPrefix(side, raw)}
		stats := make(map[int]map[string]float64)
		for _, f := range figures {
			n, err := strconv.Atoi(f.Work[strings.LastIndex(f.Work, "/")+1:])
			if f.Side != side || err != nil {
				continue
			}
			if stats[n] == nil {
				stats[n] = make(map[string]float64)
			}
			stats[n][f.Stat] = f.Value
		}
		for n, at := range stats {
			p := point(side, at)
			p.X = float64(n)
			s.Points = append(s.Points, p)
		}
		all = append(all, s)
	}
	return all
}

// load shows what writes of others do to hand-overs, by their 90th percentile, which
// targets are about.
func load(figures []perf.Figure) ([]byte, error) {
	some := where(figures, func(f perf.Figure) bool {
		n, idle := strings.CutPrefix(f.Work, contended)
		counts := strings.HasPrefix(f.Work, underWrites) || idle && has(figures, underWrites+n, f.Servers)
		return counts && f.Metric == "hand-over" && f.Stat == "p90"
	})
	// A work on an idle cluster comes before the same with writes.
	slices.SortStableFunc(some, func(a, b perf.Figure) int { return strings.Compare(contest(a), contest(b)) })
	return bars(chart.Frame{
		Title: "A lock's hand-over while others write 500 keys per second",
		Note:  "90th percentile from one client's Unlock to the next one's Lock.",
		Y:     chart.Axis{Label: "ms", Log: true},
	}, some, func(f perf.Figure) string {
		cluster, n := "idle", f.Work[strings.LastIndex(f.Work, "/")+1:]
		if strings.HasPrefix(f.Work, underWrites) {
			cluster = "500 writes/s"
		}
		return fmt.Sprintf("%s clients\n%s\n%s", n, strings.ReplaceAll(servers(f.Servers), ", ", "\n"), cluster)
	})
}

// contest returns what is alike of a contest on an idle cluster and one with writes.
func contest(f perf.Figure) string {
	return fmt.Sprintf("%s %4s", f.Servers, f.Work[strings.LastIndex(f.Work, "/")+1:])
}

func has(figures []perf.Figure, work, servers string) bool {
	return slices.ContainsFunc(figures, func(f perf.Figure) bool { return f.Work == work && f.Servers == servers })
}
