package main

import (
	"fmt"
	"strconv"

	"github.com/conclave-go/conclave/examples/internal/report"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/timeline"
)

// record puts an event on the chart of the act, once the board has it.
func (b *board) record(r *report.Recorder, e event) {
	switch e.Kind {
	case ready:
		r.Process(e.Worker, e.PID)
	case wants:
		r.Waits(e.Worker, e.At)
	case granted:
		r.Holds(e.Worker, e.At, b.token(e), e.Until)
	case keeps:
		r.Until(e.Worker, e.Until)
	case released:
		r.Released(e.Worker, e.At)
	case lost:
		r.Until(e.Worker, e.Until)
		r.Lost(e.Worker, e.At, e.Detail)
	case wrote:
		r.Wrote(e.Worker, e.At, e.OK, e.Detail)
	case acted:
		recordAct(r, e)
	case exited:
		if e.Detail != "" {
			r.Mark(e.Worker, e.At, timeline.Bad, "gives up", e.Detail)
		}
		r.Dies(e.Worker, e.At)
	case waits, counts, enqueued, dequeued: // are of the queue
	}
}

// recordAct puts on the chart what the parent did.
func recordAct(r *report.Recorder, e event) {
	switch doing(e.Detail) {
	case killed:
		r.Mark(e.Worker, e.At, timeline.Fault, "killed", "")
		r.Dies(e.Worker, e.At)
	case stopped:
		r.Disturbed(e.Worker, e.At, "stopped")
	case cutOff:
		r.Disturbed(e.Worker, e.At, "cut off")
	default: // that is over
		r.Healed(e.Worker, e.At)
	}
}

// page is what there is to see of a run in a browser.
func (o *options) page(where fmt.Stringer, results []result) timeline.Page {
	table := &timeline.Table{Corner: "act", Columns: []string{"before the deadlines", "hand-overs", "p50", "p90", "p99", "max"}}
	var charts []timeline.Chart
	for i, r := range results {
		if len(r.chart.Lanes) == 0 {
			continue
		}
		c := r.chart
		c.ID, c.Text = "act-"+strconv.Itoa(i+1), r.act.intro
		c.Notes = append(c.Notes, r.act.note())
		charts = append(charts, c)
		row := timeline.Row{Name: r.act.name, Cells: []timeline.Cell{{Verdict: c.Verdict, Chart: c.ID}, {Text: strconv.Itoa(len(r.took))}}}
		for _, p := range []float64{50, 90, 99, 100} {
			row.Cells = append(row.Cells, timeline.Cell{Text: screen.Millis(screen.Percentile(sorted(r.took), p))})
		}
		table.Rows = append(table.Rows, row)
	}
	return report.Page("A lock handed from process to process",
		"Each lane is a process; a bar is a hold of the lock, with its token, from the moment at which the process "+
			"learned of it to the moment at which it gave it up or was told that it lost it.",
		table, charts,
		timeline.Fact{Name: "workers", Value: strconv.Itoa(o.workers)},
		timeline.Fact{Name: "TTL", Value: o.ttl.String()},
		timeline.Fact{Name: "hold", Value: o.hold.String()},
		timeline.Fact{Name: "cluster", Value: where.String()},
	)
}

// note says how the holds of an act are to be read.
func (a act) note() string {
	if a.library == official {
		return "clientv3/concurrency tells no deadline: its holds count until they are given up, or the holder is told."
	}
	return "Holds of conclave count up to their deadlines, which a holder knows without being told."
}
