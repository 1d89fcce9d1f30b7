package timeline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// mostEntries is how long the list of what happened may get.
const mostEntries = 200

// what says in words what a class of bars is.
func (c BarClass) what() string {
	switch c {
	case Hold:
		return "holds"
	case Shared:
		return "holds, shared"
	case Wait:
		return "waits"
	case Section:
		return "in the section"
	case Other:
	}
	return ""
}

// name says what a bar is, in short.
func (b drawnBar) name() string {
	switch what := b.known().what(); {
	case b.Label == "":
		return cmp.Or(what, "bar")
	case what == "":
		return b.Label
	default:
		return what + " " + b.Label
	}
}

func (d *drawing) tipOfBar(lane string, b drawnBar) string {
	tip := fmt.Sprintf("%s: %s, %s", lane, b.name(), d.extent(b.From, b.To))
	if b.count > 1 {
		tip = fmt.Sprintf("%s: %s, %d times, %s", lane, cmp.Or(b.known().what(), "bars"), b.count, d.extent(b.From, b.To))
		if b.Label != "" {
			tip += fmt.Sprintf(", %s to %s", b.Label, b.last)
		}
		return tip
	}
	if b.Deadline != 0 && !b.Released {
		tip += ", deadline " + d.moment(b.Deadline)
	}
	if b.Tip != "" {
		tip += ". " + b.Tip
	}
	return tip
}

// extent writes from when to when something lasts.
func (d *drawing) extent(from, to time.Duration) string {
	if to == 0 {
		return fmt.Sprintf("from %s to the end", d.moment(from))
	}
	return fmt.Sprintf("%s to %s (%s)", d.moment(from), d.moment(max(to, from)), span(max(to-from, 0)))
}

func (d *drawing) tipOfMark(lane string, m drawnMark) string {
	tip := fmt.Sprintf("%s: %s, %s", lane, cmp.Or(m.Label, m.class()), d.moment(m.At))
	if m.count > 1 {
		tip += fmt.Sprintf(", and %d more", m.count-1)
	}
	if m.Tip != "" {
		tip += ". " + m.Tip
	}
	return tip
}

func (d *drawing) tipOfBand(b Band) string {
	return fmt.Sprintf("%s: %s, %s", cmp.Or(b.Lane, "all lanes"), b.Label, d.extent(b.From, b.To))
}

func (d *drawing) tipOfOverlap(o Overlap) string {
	return fmt.Sprintf("%s at once: %s, %s", o.holders(), strings.Join(o.Lanes, ", "), d.extent(o.From, o.To))
}

// judged says whether more than one held at once, "" if nobody held anything.
func judged(lanes []Lane, overlaps []Overlap) string {
	if len(overlaps) > 0 {
		var total time.Duration
		for _, o := range overlaps {
			total += o.To - o.From
		}
		return fmt.Sprintf("More than one held at once, before their deadlines: %s, %s in all.",
			plural(len(overlaps), "time", "times"), span(total))
	}
	for _, l := range lanes {
		if slices.ContainsFunc(l.Bars, Bar.holds) {
			return "No two holders overlapped before their deadlines."
		}
	}
	return ""
}

// describe says in one sentence each what is on a chart, for those who do not see it.
func describe(c Chart, d *drawing) string {
	parts := []string{fmt.Sprintf("%s, %s.", plural(len(c.Lanes), "lane", "lanes"), span(d.end))}
	for _, l := range c.Lanes {
		holds := 0
		for _, b := range l.Bars {
			if b.holds() {
				holds++
			}
		}
		parts = append(parts, fmt.Sprintf("%s: %s, %s.", l.Name, plural(holds, "hold", "holds"), plural(len(l.Marks), "mark", "marks")))
	}
	return strings.Join(append(parts, "What happened is listed below the chart."), " ")
}

// entry is a line of the list of what happened.
type entry struct {
	At, Text string

	at     time.Duration
	weight time.Duration // those of the least are left out if there are too many
}

// list returns what happened in the order of time, and how many entries were left
// out: the shortest bars.
func (d *drawing) list(lanes []drawnLane) (entries []entry, left int) {
	const always = 1 << 62
	add := func(at, weight time.Duration, text string) {
		entries = append(entries, entry{At: d.moment(at), Text: text, at: at, weight: weight})
	}
	for _, o := range d.overlap {
		add(o.From, always, d.tipOfOverlap(o))
	}
	for _, b := range d.bands {
		add(b.From, always, d.tipOfBand(b))
	}
	for _, l := range lanes {
		for _, m := range l.marks {
			add(m.At, always-1, d.tipOfMark(l.Name, m))
		}
		for _, b := range l.bars {
			add(b.From, b.until(d.end)-b.From, d.tipOfBar(l.Name, b))
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(b.weight, a.weight) })
	left = max(len(entries)-mostEntries, 0)
	entries = entries[:len(entries)-left]
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.at, b.at) })
	return entries, left
}
