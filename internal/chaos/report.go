package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/internal/timeline"
)

// largestSearch bounds what is shown of a search for an order whose failure is no
// surprise.
const largestSearch = 100 << 10

// Page is the report as a page: the table of verdicts, and a chart for each cell.
func (r *Report) Page(command string) timeline.Page {
	p := timeline.Page{
		Title: "Locks under faults",
		Intro: "Each system went through the same faults, as processes on one machine. HELD: it kept what it promises. " +
			"BROKEN (expected): something did not hold that it does not promise under these faults. BROKEN: a promise was not kept.\n\n" +
			"A bar is a hold, with its fencing token; what is hatched is how long it could still have relied on its deadline. " +
			"Where two held the lock before their deadlines, the chart says so in red.\n\n" +
			"Whoever holds the lock updates five things, which differ in what protects them besides: unguarded, and plain in etcd, nothing; " +
			"deadline, a look at the deadline before the update; fenced, and txn in etcd, the token, which is checked with the update.",
		Facts: []timeline.Fact{
			{Name: "Command", Value: command},
			{Name: "Seed", Value: fmt.Sprint(r.Schedule.Seed)},
			{Name: "Began", Value: r.Began.UTC().Format(time.RFC3339)},
			{Name: "Took", Value: r.Took.Round(time.Second).String()},
			{Name: "Versions", Value: r.on()},
			{Name: "Machine", Value: r.Machine},
			{Name: "Faults", Value: fmt.Sprintf("locks on etcd: %d partitions, %d pauses, %d others", r.Ours.Partitions, r.Ours.Pauses, r.Ours.Others)},
		},
	}
	if n := len(r.Recoveries); n > 0 {
		p.Facts = append(p.Facts, timeline.Fact{Name: "Death of a holder to the next grant", Value: fmt.Sprintf(
			"p50 %s, p99 %s of %d", short(percentile(r.Recoveries, 0.5)), short(percentile(r.Recoveries, 0.99)), n)})
	}
	for _, c := range r.Controls {
		word := map[bool]string{true: "caught", false: "NOT CAUGHT"}[c.Caught]
		if c.Skipped {
			word = "not proven"
		}
		p.Facts = append(p.Facts, timeline.Fact{Name: "Control", Value: word + ": " + c.Name})
	}
	p.Table = r.pageTable()
	for _, e := range r.Schedule.Entries {
		for _, name := range e.Systems {
			if c, ok := r.cell(e.Scenario, name); ok && c.Verdict != Skipped {
				p.Charts = append(p.Charts, c.chart())
			}
		}
	}
	return p
}

func (r *Report) pageTable() *timeline.Table {
	systems, _ := r.played()
	t := &timeline.Table{Title: "Verdicts", Corner: "Fault", Columns: systems}
	for _, e := range r.Schedule.Entries {
		row := timeline.Row{Name: e.Scenario}
		for _, name := range systems {
			c, ok := r.cell(e.Scenario, name)
			if !ok {
				row.Cells = append(row.Cells, timeline.Cell{})
				continue
			}
			cell := timeline.Cell{Verdict: c.Verdict.drawn(), Tip: strings.TrimSpace(e.Meaning + " " + c.Why)}
			if c.Verdict != Skipped {
				cell.Chart = c.id()
			}
			row.Cells = append(row.Cells, cell)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// drawn is the verdict in the words of package timeline.
func (v Verdict) drawn() timeline.Verdict {
	if v == Broken {
		return timeline.Broken
	}
	return timeline.Verdict(v)
}

// id is what the cell's chart is called.
func (c Cell) id() string {
	return strings.Map(func(r rune) rune {
		if r == '+' {
			return '.'
		}
		return r
	}, c.Scenario+"_"+c.System)
}

// chart draws one cell.
func (c Cell) chart() timeline.Chart {
	d := &drawing{cell: c, lanes: make(map[string]*timeline.Lane)}
	for _, e := range c.Events {
		if e.At != 0 && (d.start == 0 || e.At < d.start) {
			d.start = e.At
		}
	}
	for _, h := range history.Holds(c.Events) {
		d.hold(h)
	}
	for _, e := range c.Events {
		d.mark(e)
	}
	chart := timeline.Chart{
		ID: c.id(), Title: c.Scenario + ": " + c.System, Text: c.Entry.Meaning,
		Verdict: c.Verdict.drawn(), Outcome: c.Why, Bands: d.bands, Lanes: d.sorted(),
		Notes: c.notes(),
	}
	if len(c.Result.Findings) > 0 {
		chart.Details = append(chart.Details, timeline.Detail{Title: fmt.Sprintf("%d findings", len(c.Result.Findings)), Text: d.findings()})
	}
	if n := len(c.Result.Order); n > 0 && (n < largestSearch || c.Verdict == Broken) {
		chart.Details = append(chart.Details, timeline.Detail{Title: "The search for a legal order, by porcupine", HTML: c.Result.Order})
	}
	return chart
}

// notes sum the cell up.
func (c Cell) notes() []string {
	r := c.Result
	notes := []string{fmt.Sprintf("%d grants.", r.Grants)}
	for _, way := range []history.Way{history.Unguarded, history.Deadline, history.Fenced, history.Txn, history.Plain} {
		if r.Writes[way]+r.Refused[way] > 0 {
			note := fmt.Sprintf("%s: %d updates accepted, %d of them lost; %d refused.", way, r.Writes[way], r.Lost[way], r.Refused[way])
			if r.Lost[way] > 0 && !checks(way) {
				note += " Nothing checks a token here: this resource shows why one is needed, and what it loses is no failure of the lock."
			}
			notes = append(notes, note)
		}
	}
	if n := len(r.Recoveries); n > 0 {
		notes = append(notes, fmt.Sprintf("From the death of a holder to the next grant: %s to %s.", short(r.Recoveries[0]), short(r.Recoveries[n-1])))
	}
	return append(notes, r.Notes...)
}

// drawing is a chart in the making.
type drawing struct {
	cell  Cell
	start int64
	lanes map[string]*timeline.Lane
	bands []timeline.Band
}

func (d *drawing) at(t int64) time.Duration { return time.Duration(max(1, t-d.start)) }

func (d *drawing) lane(worker string) *timeline.Lane {
	if d.lanes[worker] == nil {
		d.lanes[worker] = &timeline.Lane{Name: worker}
	}
	return d.lanes[worker]
}

func (d *drawing) sorted() []timeline.Lane {
	var all []timeline.Lane
	for _, l := range d.lanes {
		all = append(all, *l)
	}
	slices.SortFunc(all, func(a, b timeline.Lane) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// hold draws a hold: up to its release, its loss or the death of its process.
func (d *drawing) hold(h history.Hold) {
	end := min(h.Releasing, h.Told)
	if end == history.Open {
		end = max(h.Valid, h.Granted)
	}
	b := timeline.Bar{From: d.at(h.Granted), To: d.at(max(end, h.Granted+1)), Released: h.Releasing < h.Told, Tip: h.ID}
	if h.Timed {
		b.Deadline = d.at(min(h.Until, h.Overruled))
	}
	if h.Token != 0 {
		b.Label = history.Text(h.Token)
	}
	l := d.lane(h.Worker)
	l.Bars = append(l.Bars, b)
}

// checks reports whether writes are refused that come too late, so that none may be lost.
func checks(way history.Way) bool { return way == history.Fenced || way == history.Txn }

// mark draws what is no hold.
func (d *drawing) mark(e history.Event) {
	add := func(label string, class timeline.MarkClass) {
		l := d.lane(e.Worker)
		l.Marks = append(l.Marks, timeline.Mark{At: d.at(e.At), Label: label, Class: class})
	}
	switch e.Kind {
	case history.Begun:
		d.bands = append(d.bands, timeline.Band{From: d.at(e.At), Label: e.Fault, Lane: e.Worker})
	case history.Ended:
		for i := range d.bands {
			if b := &d.bands[len(d.bands)-1-i]; b.To == 0 && b.Label == e.Fault && b.Lane == e.Worker {
				b.To = d.at(e.At)
				break
			}
		}
	case history.Told:
		add("told", timeline.Told)
	case history.Phantom:
		add("phantom: no entry", timeline.Bad)
	case history.Judged:
		switch {
		case !e.OK:
			add("stale: refused", timeline.Good)
		case e.Was != e.Found && checks(e.Way):
			add(string(e.Way)+": lost update", timeline.Bad)
		case e.Was != e.Found:
			add(string(e.Way)+": lost update, no token is checked", timeline.Note)
		}
	case history.Exited:
		if e.Worker != "" && e.Detail != "" {
			label, _, _ := strings.Cut(e.Detail, "\n")
			add(label, timeline.Fault)
		}
	default: // it is part of a hold, or not worth a mark
	}
}

// findings are all of them, with their times on the chart.
func (d *drawing) findings() string {
	var b strings.Builder
	for _, f := range d.cell.Result.Findings {
		fmt.Fprintf(&b, "%9.3f s  %-7s %s\n", d.at(f.At).Seconds(), f.Property, f.Text)
	}
	return b.String()
}
