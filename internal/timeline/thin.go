package timeline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// finest is how many parts of a chart are told apart: a screen has as many pixels,
	// and a chart can be stretched.
	finest = 4000
	// mostShapes is how many bars and marks are drawn of a chart, which is about as many
	// as can be told apart and makes some hundred kilobytes. The charts of a page share
	// allShapes, but leastShapes each.
	mostShapes  = 2000
	allShapes   = 30_000
	leastShapes = 200
)

// share returns how many shapes each of so many charts may have.
func share(charts int) int { return min(max(allShapes/max(charts, 1), leastShapes), mostShapes) }

// drawnBar is a bar, or several that are too short to be drawn one by one.
type drawnBar struct {
	Bar

	count int // of bars; 1 of one
	last  string
}

// drawnMark is a mark, or several at nearly the same moment.
type drawnMark struct {
	Mark

	count int
}

// drawnLane is a lane as it is drawn.
type drawnLane struct {
	Lane

	bars  []drawnBar
	marks []drawnMark
}

// thin returns the lanes with no more on them than can be seen, each in the order of
// time.
func thin(lanes []Lane, end time.Duration, most int) []drawnLane {
	sorted := make([]Lane, len(lanes))
	for i, l := range lanes {
		l.Bars = slices.SortedStableFunc(slices.Values(l.Bars), func(a, b Bar) int { return cmp.Compare(a.From, b.From) })
		l.Marks = slices.SortedStableFunc(slices.Values(l.Marks), func(a, b Mark) int { return cmp.Compare(a.At, b.At) })
		sorted[i] = l
	}
	for cell := end / finest; ; cell = max(2*cell, 1) {
		drawn, shapes := thinTo(sorted, cell, end)
		if shapes <= most || cell > end {
			return drawn
		}
	}
}

// thinTo draws as one what is shorter than a cell and no further apart.
func thinTo(lanes []Lane, cell, end time.Duration) (drawn []drawnLane, shapes int) {
	for _, l := range lanes {
		d := drawnLane{Lane: l, marks: thinMarks(l.Marks, cell)}
		for _, class := range []BarClass{Other, Wait, Hold, Shared, Section} {
			d.bars = append(d.bars, thinBars(l.Bars, class, cell, end)...)
		}
		shapes += len(d.bars) + len(d.marks)
		drawn = append(drawn, d)
	}
	return drawn, shapes
}

// thinBars returns the bars of one class.
func thinBars(bars []Bar, class BarClass, cell, end time.Duration) []drawnBar {
	var drawn []drawnBar
	joins := false // whether the last one may take in more
	for _, b := range bars {
		if b.known() != class {
			continue
		}
		to := b.until(end)
		short := to-b.From < cell && !b.late(end)
		if last := len(drawn) - 1; short && joins && b.From-drawn[last].To < cell {
			drawn[last] = drawn[last].with(b, to)
			continue
		}
		joins = short
		if short {
			b.To = to
		}
		drawn = append(drawn, drawnBar{Bar: b, count: 1, last: b.Label})
	}
	return drawn
}

// with returns the bars and one that follows.
func (b drawnBar) with(next Bar, to time.Duration) drawnBar {
	b.To = max(b.To, to)
	b.Deadline, b.Tip = 0, ""
	b.count++
	b.last = next.Label
	return b
}

// late reports whether the bar goes on after its deadline.
func (b Bar) late(end time.Duration) bool { return b.Deadline != 0 && b.until(end) > b.Deadline }

// known returns the class of the bar, Other for one that there is not.
func (b Bar) known() BarClass {
	switch b.Class {
	case Hold, Shared, Wait, Section, Other:
		return b.Class
	}
	return Other
}

func thinMarks(marks []Mark, cell time.Duration) []drawnMark {
	var drawn []drawnMark
	for _, m := range marks {
		if last := len(drawn) - 1; last >= 0 && drawn[last].Class == m.Class && m.At-drawn[last].At < cell {
			drawn[last].count++
			continue
		}
		drawn = append(drawn, drawnMark{Mark: m, count: 1})
	}
	return drawn
}

// thinned says what was drawn together, "" if nothing was.
func thinned(lanes []drawnLane) string {
	bars, as, marks := 0, 0, 0
	for _, l := range lanes {
		for _, b := range l.bars {
			if b.count > 1 {
				bars += b.count
				as++
			}
		}
		for _, m := range l.marks {
			marks += m.count - 1
		}
	}
	var parts []string
	if bars > 0 {
		parts = append(parts, fmt.Sprintf("%d bars that are too short to be told apart are drawn as %d", bars, as))
	}
	if marks > 0 {
		parts = append(parts, fmt.Sprintf("%s not drawn beside another of %s kind", plural(marks, "mark is", "marks are"), "its"))
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", and ") + "."
}

// thinOverlaps draws as one those that are closer than a cell.
func thinOverlaps(overlaps []Overlap, end time.Duration, most int) []Overlap {
	return join(overlaps, end, most, func(a, b Overlap, cell time.Duration) (Overlap, bool) {
		joins := b.From-a.To < cell && slices.Equal(a.Lanes, b.Lanes)
		a.To = max(a.To, b.To)
		return a, joins
	})
}

// thinBands draws as one those of a lane that are closer than a cell.
func thinBands(bands []Band, end time.Duration, most int) []Band {
	sorted := slices.SortedStableFunc(slices.Values(bands), func(a, b Band) int {
		return cmp.Or(cmp.Compare(a.Lane, b.Lane), cmp.Compare(a.From, b.From))
	})
	return join(sorted, end, most, func(a, b Band, cell time.Duration) (Band, bool) {
		joins := a.Lane == b.Lane && a.Label == b.Label && b.From-a.until(end) < cell
		a.To = max(a.until(end), b.until(end))
		return a, joins
	})
}

// join has one try to join each with the one before it, in cells that get larger until
// no more than the given number are left.
func join[T any](all []T, end time.Duration, most int, try func(a, b T, cell time.Duration) (T, bool)) []T {
	for cell := time.Duration(0); ; cell = max(2*cell, end/finest, 1) {
		var drawn []T
		for _, x := range all {
			if last := len(drawn) - 1; last >= 0 {
				if joined, ok := try(drawn[last], x, cell); ok {
					drawn[last] = joined
					continue
				}
			}
			drawn = append(drawn, x)
		}
		if len(drawn) <= most || cell > end {
			return drawn
		}
	}
}

func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
