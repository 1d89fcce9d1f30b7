package theatre

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/report"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/timeline"
)

// result is what came of an act.
type result struct {
	name, text, outcome string
	cells               []string        // of the play's columns
	took, before        []time.Duration // until the next was active; by which the time of the old one ended before that
	chart               timeline.Chart
}

// finish ends the act, if one is played.
func (s *Stage) finish() {
	if s.act == nil {
		return
	}
	r := s.act
	s.act = nil
	r.chart = s.record.chart(s.Began(), time.Now())
	r.chart.ID, r.chart.Title, r.chart.Text, r.chart.Outcome = "act-"+strconv.Itoa(len(s.results)+1), r.name, r.text, r.outcome
	s.results = append(s.results, r)
}

// chart draws what happened between two times.
func (r *record) chart(began, ended time.Time) timeline.Chart {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := func(t time.Time) time.Duration {
		if t.IsZero() {
			return 0
		}
		return max(t.Sub(began), 1) // 0 is never
	}
	c, rivals := timeline.Chart{Length: ended.Sub(began)}, false
	for _, copied := range r.cast {
		rivals = rivals || copied.rival
		l := timeline.Lane{Name: copied.name}
		if copied.Process != nil {
			l.Text = "process " + strconv.Itoa(copied.PID())
		}
		if !copied.asked.IsZero() {
			l.Bars = append(l.Bars, timeline.Bar{From: at(copied.asked), Class: timeline.Wait})
		}
		for _, o := range r.all {
			if o.Copy == copied.name && !o.over(began) {
				o.draw(&l, at)
			}
		}
		c.Lanes = append(c.Lanes, l)
	}
	for _, e := range r.events {
		e.draw(&c, began, at)
	}
	c.Verdict = timeline.Held
	if len(timeline.Overlaps(c.Lanes, c.Length)) > 0 {
		c.Verdict = timeline.Broken
		if rivals {
			c.Verdict = timeline.BrokenExpected
		}
	}
	if rivals {
		c.Notes = append(c.Notes, "clientv3/concurrency tells no deadline: its holds count until they are given up, or the holder is told.")
	}
	return c
}

// draw puts the event on a chart, if it is of the act.
func (e *event) draw(c *timeline.Chart, began time.Time, at func(time.Time) time.Duration) {
	i := slices.IndexFunc(c.Lanes, func(l timeline.Lane) bool { return l.Name == e.who })
	switch {
	case i < 0:
	case e.lasts && (e.to.IsZero() || e.to.After(began)):
		c.Bands = append(c.Bands, timeline.Band{From: at(e.at), To: at(e.to), Label: e.label, Lane: e.who})
	case !e.lasts && e.at.After(began):
		c.Lanes[i].Marks = append(c.Lanes[i].Marks, timeline.Mark{At: at(e.at), Class: e.class, Label: e.label})
	}
}

// over reports whether the office had ended by a time.
func (o *Office) over(by time.Time) bool {
	end := o.Stopped
	if end.IsZero() {
		end = o.gone
	}
	return !end.IsZero() && end.Before(by)
}

// draw puts the office on a lane, and the wait before it.
func (o *Office) draw(l *timeline.Lane, at func(time.Time) time.Duration) {
	if !o.Asked.IsZero() {
		l.Bars = append(l.Bars, timeline.Bar{From: at(o.Asked), To: at(o.Since), Class: timeline.Wait})
	}
	end := o.Stopped
	if end.IsZero() {
		end = o.gone
	}
	l.Bars = append(l.Bars, timeline.Bar{
		From: at(o.Since), To: at(end), Deadline: at(o.deadline), Label: o.Token.String(), Released: !o.Stopped.IsZero() && o.Lost == "",
	})
	if o.Lost != "" {
		l.Marks = append(l.Marks, timeline.Mark{At: at(o.Stopped), Class: timeline.Told, Label: "told", Tip: o.Lost})
	}
}

// figure is what was measured in the acts of one name.
type figure struct {
	result

	cell timeline.Cell // leads to the first time, or the first that broke something
}

// figures returns the names of the columns and the figures of the acts, in their order.
func (s *Stage) figures() (columns []string, all []*figure) {
	columns = s.play.Columns
	for _, r := range s.results {
		i := slices.IndexFunc(all, func(f *figure) bool { return f.name == r.name })
		if i < 0 {
			i, all = len(all), append(all, &figure{result: result{name: r.name}, cell: timeline.Cell{Verdict: r.chart.Verdict, Chart: r.chart.ID}})
		}
		f := all[i]
		if f.cell.Verdict == timeline.Held && r.chart.Verdict != timeline.Held {
			f.cell.Verdict, f.cell.Chart = r.chart.Verdict, r.chart.ID
		}
		f.cells, f.took, f.before = r.cells, append(f.took, r.took...), append(f.before, r.before...)
	}
	if columns != nil {
		return columns, all
	}
	for _, f := range all {
		f.cells = spread(f.took, f.before)
	}
	return []string{"times", "min", "median", "max", "the old one ended"}, all
}

// spread says how often it took how long, nothing if it never did.
func spread(took, before []time.Duration) []string {
	n := len(took)
	if n == 0 {
		return nil
	}
	slices.Sort(took)
	slices.Sort(before)
	ended := ""
	switch {
	case len(before) == 0:
	case before[0] < 0:
		ended = screen.Short(-before[0]) + " AFTER"
	default:
		ended = screen.Short(before[0]) + " before"
	}
	return []string{strconv.Itoa(n), screen.Short(took[0]), screen.Short(took[(n-1)/2]), screen.Short(took[n-1]), ended}
}

// page is what there was to see, for a browser.
func (s *Stage) page(failed error) timeline.Page {
	columns, all := s.figures()
	table := &timeline.Table{Corner: "act", Columns: append([]string{"before the deadlines"}, columns...)}
	for _, f := range all {
		row := timeline.Row{Name: f.name, Cells: []timeline.Cell{f.cell}}
		for _, text := range f.cells {
			row.Cells = append(row.Cells, timeline.Cell{Text: text})
		}
		table.Rows = append(table.Rows, row)
	}
	var charts []timeline.Chart
	for _, r := range s.results {
		charts = append(charts, r.chart)
	}
	intro := "Each lane is a copy of the program, as a process. A bar is the time for which it " + s.inOffice() +
		", by what it logs, with its token: until it gives that up, or learns that it is over."
	if failed != nil && !errors.Is(failed, program.ErrInterrupted) {
		intro += "\n\nWhat should not have happened: " + failed.Error()
	}
	return report.Page(cmp.Or(s.play.Title, s.play.Name), intro, table, charts,
		timeline.Fact{Name: "TTL", Value: s.TTL.String()}, timeline.Fact{Name: "cluster", Value: s.servers.Text})
}
