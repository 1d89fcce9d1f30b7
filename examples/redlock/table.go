package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

// table writes what the acts have shown, 79 columns wide at most, and more of those in
// which something broke, or did not and should have.
func table(results []result, styles screen.Styles) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-24s %10s %9s %9s %9s\n", "", "hand-overs", "p50", "p99", "max")
	for _, r := range results {
		took := slices.Sorted(slices.Values(r.took))
		fmt.Fprintf(&b, "%-24s %10d", r.act.name, len(took))
		for _, p := range []float64{50, 99, 100} {
			fmt.Fprintf(&b, " %9s", screen.Millis(screen.Percentile(took, p)))
		}
		fmt.Fprintf(&b, "   %s\n", word(r.verdict, styles))
	}
	for _, r := range results {
		if !r.verdict.broken() && r.verdict.asDocumented() {
			continue
		}
		fmt.Fprintf(&b, "\n%s:\n  %s\n", r.act.name, strings.ReplaceAll(screen.Wrap(r.verdict.String(), screen.DefaultWidth-2), "\n", "\n  "))
	}
	return b.String()
}

// word is a verdict in one.
func word(v verdict, styles screen.Styles) string {
	if v.broken() {
		return styles.Bad.Render("BROKEN")
	}
	return styles.Good.Render("held")
}
