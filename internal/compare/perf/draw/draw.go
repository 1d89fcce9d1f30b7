package draw

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-go/conclave/internal/compare/chart"
	"github.com/conclave-go/conclave/internal/compare/perf"
)

// raw is how the names of sides begin that are no library but operations of the server.
const raw = "raw"

// Charts returns charts by the names of their files. Those for which there are no figures
// are left out.
func Charts(figures []perf.Figure, samples []perf.Sample) (map[string][]byte, error) {
	charts := make(map[string][]byte)
	for name, draw := range map[string]func() ([]byte, error){
		"ratios.svg":     func() ([]byte, error) { return ratios(figures) },
		"limits.svg":     func() ([]byte, error) { return limits(figures) },
		"handover.svg":   func() ([]byte, error) { return handOver(figures) },
		"throughput.svg": func() ([]byte, error) { return throughput(figures) },
		"load.svg":       func() ([]byte, error) { return load(figures) },
		"told.svg":       func() ([]byte, error) { return told(samples) },
		"redis.svg":      func() ([]byte, error) { return redis(figures) },
	} {
		svg, err := draw()
		switch {
		case errors.Is(err, chart.ErrNothing):
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		default:
			charts[name] = svg
		}
	}
	return charts, nil
}

// sides returns the names of the sides in the order in which they first come, bare
// operations last: these are grey, so that they take no colour from others.
func sides(all []perf.Figure) []string {
	var names, bare []string
	for _, f := range all {
		switch {
		case slices.Contains(names, f.Side) || slices.Contains(bare, f.Side):
		case strings.HasPrefix(f.Side, raw):
			bare = append(bare, f.Side)
		default:
			names = append(names, f.Side)
		}
	}
	return append(names, bare...)
}

// where returns the figures for which a condition holds.
func where(all []perf.Figure, keep func(perf.Figure) bool) (some []perf.Figure) {
	for _, f := range all {
		if keep(f) {
			some = append(some, f)
		}
	}
	return some
}

// leading returns the first statistic of the first metric of each work.
func leading(all []perf.Figure) []perf.Figure {
	first := make(map[string]perf.Figure)
	return where(all, func(f perf.Figure) bool {
		if _, ok := first[f.On()]; !ok {
			first[f.On()] = f
		}
		return f.Metric == first[f.On()].Metric && f.Stat == first[f.On()].Stat
	})
}
