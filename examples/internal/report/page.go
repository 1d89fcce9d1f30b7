package report

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/conclave-go/conclave/internal/timeline"
)

// mostCharts is how many acts a page shows.
const mostCharts = 50

// Page returns a page of acts that were recorded. Facts are added to those that all
// have: when, and on what.
func Page(title, intro string, table *timeline.Table, charts []timeline.Chart, facts ...timeline.Fact) timeline.Page {
	if more := len(charts) - mostCharts; more > 0 {
		charts = most(charts)
		intro += fmt.Sprintf("\n\nThe first %d acts are drawn, and those that broke something, of %d.", mostCharts, mostCharts+more)
		unlink(table, charts)
	}
	facts = append(slices.Clip(facts),
		timeline.Fact{Name: "machine", Value: fmt.Sprintf("%d processors, %s/%s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())},
		timeline.Fact{Name: "at", Value: time.Now().UTC().Format("2006-01-02 15:04 UTC")})
	return timeline.Page{Title: title, Intro: intro, Facts: facts, Table: table, Charts: charts}
}

// most returns the first charts, and of the others those that show a break.
func most(charts []timeline.Chart) []timeline.Chart {
	kept := slices.Clone(charts[:mostCharts])
	for _, c := range charts[mostCharts:] {
		if c.Verdict != timeline.Held && len(kept) < 2*mostCharts {
			kept = append(kept, c)
		}
	}
	return kept
}

// unlink has cells that lead to charts that were left out lead nowhere.
func unlink(table *timeline.Table, charts []timeline.Chart) {
	if table == nil {
		return
	}
	for _, row := range table.Rows {
		for i, c := range row.Cells {
			if !slices.ContainsFunc(charts, func(x timeline.Chart) bool { return x.ID == c.Chart }) {
				row.Cells[i].Chart = ""
			}
		}
	}
}
