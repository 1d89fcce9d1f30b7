package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

func formatRevision(r int64) string { return strconv.FormatInt(r, 10) }

func sorted(took []time.Duration) []time.Duration { return slices.Sorted(slices.Values(took)) }

// table writes what the acts have shown, 79 columns wide at most.
func table(results []result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-29s %10s %9s %9s %9s %9s\n", "", "hand-overs", "p50", "p90", "p99", "max")
	for _, r := range results {
		took := sorted(r.took)
		fmt.Fprintf(&b, "%-29s %10d", r.act.name, len(took))
		for _, p := range []float64{50, 90, 99, 100} {
			fmt.Fprintf(&b, " %9s", screen.Millis(screen.Percentile(took, p)))
		}
		b.WriteByte('\n')
	}
	b.WriteString(costs(results))
	b.WriteString(outcomes(results))
	return b.String()
}

// costs writes the RPCs per acquisition of the acts in which nothing went wrong, or
// of all if there are no others.
func costs(results []result) string {
	undisturbed := slices.DeleteFunc(slices.Clone(results), func(r result) bool { return r.act.writes })
	note := ""
	if len(undisturbed) > 0 {
		results = undisturbed
	} else {
		note = " (with guarded writes)"
	}
	var b strings.Builder
	for _, r := range results {
		if r.acquisitions > 0 {
			fmt.Fprintf(&b, "\nRPCs per acquisition, %s: %s", r.act.name, perAcquisition(r, note))
		}
	}
	return b.String() + "\n"
}

// perAcquisition writes the sum and a note, the methods that matter, and the rest in
// one figure.
func perAcquisition(r result, note string) string {
	const matters = 0.2
	var total, rest float64
	var parts []string
	for _, method := range slices.Sorted(maps.Keys(r.rpcs)) {
		per := float64(r.rpcs[method]) / float64(r.acquisitions)
		total += per
		if per < matters {
			rest += per
			continue
		}
		parts = append(parts, fmt.Sprintf("%s %.2f", method, per))
	}
	if rest > 0 {
		parts = append(parts, fmt.Sprintf("others %.2f", rest))
	}
	list := screen.Wrap(strings.Join(parts, ", "), screen.DefaultWidth-2)
	return fmt.Sprintf("%.2f%s\n  %s", total, note, strings.ReplaceAll(list, "\n", "\n  "))
}

// outcomes lists what faults led to.
func outcomes(results []result) string {
	var b strings.Builder
	for _, r := range results {
		if r.outcome != "" {
			fmt.Fprintf(&b, "\n%s:\n  %s", r.act.name, r.outcome)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return b.String() + "\n"
}
