package main

import (
	"strconv"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/report"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/timeline"
)

// chart puts an event on the chart of the act.
func chart(r *report.Recorder, e event) {
	switch e.Kind {
	case ready:
		r.Process(e.Worker, e.PID)
	case waits:
		r.Waits(e.Worker, e.At)
	case elected:
		r.Holds(e.Worker, e.At, e.Token.String(), e.Until)
	case leads:
		r.Until(e.Worker, e.Until)
	case resigns, transfers:
		r.Mark(e.Worker, e.At, timeline.Note, string(e.Kind), "")
		r.Released(e.Worker, e.At)
	case refused:
		r.Mark(e.Worker, e.At, timeline.Note, "transfer refused", e.Detail)
		r.Reclaimed(e.Worker)
	case told:
		r.Until(e.Worker, e.Until)
		r.Lost(e.Worker, e.At, e.Detail)
	case wrote:
		r.Wrote(e.Worker, e.At, e.OK, e.Detail)
	case acted:
		chartAct(r, e)
	case exited:
		if e.Detail != "" {
			r.Mark(e.Worker, e.At, timeline.Bad, "gives up", e.Detail)
		}
		r.Dies(e.Worker, e.At)
	case enqueued, dequeued, written, observed, pressed, failed: // are of the election
	}
}

// chartAct puts on the chart what the parent did.
func chartAct(r *report.Recorder, e event) {
	switch doing(e.Detail) {
	case killed:
		r.Mark(e.Worker, e.At, timeline.Fault, "killed", "")
		r.Dies(e.Worker, e.At)
	case starting:
		r.Mark(e.Worker, e.At, timeline.Fault, "started again", "")
	case stopped:
		r.Disturbed(e.Worker, e.At, "stopped")
	case cutOff:
		r.Disturbed(e.Worker, e.At, "cut off")
	case standing, leading, toldLost: // that is over
		r.Healed(e.Worker, e.At)
	}
}

// outcome says what came of the act that was played last, if it ended a term.
func (b *board) outcome(before int) string {
	if len(b.failovers) == before {
		return ""
	}
	f := b.failovers[len(b.failovers)-1]
	out := "the next knew " + screen.Short(f.took) + " later"
	if f.told != 0 {
		out += "; the old one was told " + verdict(f.told)
	}
	return out
}

// finishChart ends the chart of an act.
func (s *stage) finishChart(a act, outcome string) {
	if s.chart == nil {
		return
	}
	c := s.chart.Chart(process.Now(), a.name, outcome, false)
	c.ID, c.Text = "act-"+strconv.Itoa(len(s.board.charts)+1), a.intro
	s.board.charts = append(s.board.charts, c)
}

// page is what there is to see of a run in a browser.
func (o *options) page(c *cluster.Cluster, b *board) timeline.Page {
	intro := "Each lane is a candidate; a bar is a term with its number, from the moment at which the candidate " +
		"learned that it leads to the moment at which it gave that up or was told that it is over."
	if err := b.record.verdict(); err != nil {
		intro += "\n\nWhat should not have happened: " + err.Error()
	}
	return report.Page("Leaders that fail", intro, b.table(), b.charts,
		timeline.Fact{Name: "candidates", Value: strconv.Itoa(o.candidates)},
		timeline.Fact{Name: "TTL", Value: o.ttl.String()},
		timeline.Fact{Name: "cluster", Value: c.String()},
	)
}

// table has a row for each act that was played, which leads to the first time.
func (b *board) table() *timeline.Table {
	t := &timeline.Table{Corner: "fail-over", Columns: []string{"never two leaders", "times", "min", "median", "max", "the old one was told"}}
	for _, f := range b.figure() {
		cells := []timeline.Cell{b.verdictOf(f.act)}
		for _, text := range f.cells() {
			cells = append(cells, timeline.Cell{Text: text})
		}
		t.Rows = append(t.Rows, timeline.Row{Name: f.act, Cells: cells})
	}
	return t
}

// verdictOf returns the first time that an act broke something, or else the first.
func (b *board) verdictOf(name string) timeline.Cell {
	var cell timeline.Cell
	for _, c := range b.charts {
		if c.Title == name && (cell.Chart == "" || cell.Verdict == timeline.Held) && (cell.Chart == "" || c.Verdict != timeline.Held) {
			cell = timeline.Cell{Verdict: c.Verdict, Chart: c.ID}
		}
	}
	return cell
}
