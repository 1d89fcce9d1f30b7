package main

import (
	"fmt"

	"charm.land/lipgloss/v2"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

// view shows what happens, coloured on a terminal.
type view struct{ *screen.Acts }

// table sums up.
func (v *view) table(results []result) {
	const row = "%-14s%8v%8v%s"
	v.Printf("\n"+row+"\n", "", "calls", "failed", "")
	for _, r := range results {
		style, note := v.Styles.Good, ""
		switch {
		case r.check() != nil:
			style, note = v.Styles.Bad, "  more than expected"
		case r.failed > 0:
			style, note = lipgloss.Style{}, "  those that s3 was answering"
		}
		v.Printf("%s\n", style.Render(fmt.Sprintf(row, r.name, r.calls, r.failed, note)))
	}
}
