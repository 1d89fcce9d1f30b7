package capacity

import (
	"fmt"
	"math"

	"github.com/conclave-go/conclave/internal/compare/chart"
)

// Charts draws the charts of docs/capacity.md, by the names of their files. What was not
// measured is not drawn.
func Charts(rows []Row) (map[string][]byte, error) {
	all := map[string][]byte{}
	draw := func(file string, f chart.Frame, series []chart.Series) error {
		if len(series) == 0 {
			return nil
		}
		svg, err := chart.Lines(f, series)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		all[file] = svg
		return nil
	}
	number := chart.Axis{Label: "workers, each with a lock of its own; or sessions", Log: true}
	if err := draw("capacity-throughput.svg", chart.Frame{
		Title: "What one etcd member does for a growing load",
		Note:  "Dashed: the knee, from where no more load brings a tenth more.",
		X:     number, Y: chart.Axis{Label: "operations per second", Log: true},
	}, stairSeries(rows, map[string]func(Step) float64{"": func(s Step) float64 { return s.Throughput }})); err != nil {
		return nil, err
	}
	if err := draw("capacity-latency.svg", chart.Frame{
		Title: "How long an operation takes under a growing load",
		Note:  "Dashed: the knee, from where no more load brings a tenth more throughput.",
		X:     number, Y: chart.Axis{Label: "milliseconds", Log: true},
	}, stairSeries(rows, map[string]func(Step) float64{
		", p50": func(s Step) float64 { return s.P50 }, ", p99": func(s Step) float64 { return s.P99 },
	})); err != nil {
		return nil, err
	}
	err := draw("capacity-memory.svg", chart.Frame{
		Title: "Memory of a client with many of them",
		X:     chart.Axis{Label: "how many", Log: true}, Y: chart.Axis{Label: "kB of heap and stacks", Log: true},
	}, memorySeries(rows))
	return all, err
}

// stairSeries returns lines of what is asked of the steps, by the end of their names, and
// the knees.
func stairSeries(rows []Row, of map[string]func(Step) float64) []chart.Series {
	var all []chart.Series
	var knees []int
	low, high := math.Inf(1), 0.0
	for _, name := range names(rows, Stairs) {
		steps := Steps(rows, name)
		for _, suffix := range []string{"", ", p50", ", p99"} {
			value, ok := of[suffix]
			if !ok {
				continue
			}
			line := chart.Series{Name: name + suffix}
			for _, s := range steps {
				v := value(s)
				if v <= 0 { // all were lost
					continue
				}
				line.Points = append(line.Points, chart.Point{X: float64(s.Load), Y: v})
				low, high = min(low, v), max(high, v)
			}
			all = append(all, line)
		}
		if i, found := Knee(steps); found {
			knees = append(knees, steps[i].Load)
		}
	}
	for _, x := range knees {
		all = append(all, chart.Series{
			Name: fmt.Sprintf("knee at %d", x), Muted: true,
			Points: []chart.Point{{X: float64(x), Y: low}, {X: float64(x), Y: high}},
		})
	}
	return all
}

// memorySeries returns a line for each load, but for two that are much like others: there
// are no more colours that everybody can tell apart.
func memorySeries(rows []Row) []chart.Series {
	const kilo = 1e3
	var all []chart.Series
	for _, name := range names(rows, Loads) {
		if name == strangerLoad || name == watcherLoad {
			continue
		}
		line := chart.Series{Name: name}
		numbers, values := series(rows, Loads, name, ClientMemory)
		for i, n := range numbers {
			if n > 0 && values[i] > 0 { // small numbers can be below what is noticed
				line.Points = append(line.Points, chart.Point{X: n, Y: values[i] / kilo})
			}
		}
		if len(line.Points) > 0 {
			all = append(all, line)
		}
	}
	return all
}
