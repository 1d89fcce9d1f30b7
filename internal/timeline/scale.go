package timeline

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// shortest is how long a chart is at least.
const shortest = time.Microsecond

// scale puts times on a chart that is as wide as it happens to be.
type scale struct{ end time.Duration }

// margin and width leave room beside what is at the begin and at the end.
const (
	margin = 0.004
	width  = 0.98
)

// fraction returns where a time is, between 0 and 1.
func (s scale) fraction(t time.Duration) float64 {
	return margin + width*float64(min(max(t, 0), s.end))/float64(s.end)
}

// at returns where a time is, in percent.
func (s scale) at(t time.Duration) string { return percent(s.fraction(t)) }

// between returns how wide something is, in percent.
func (s scale) between(from, to time.Duration) string {
	return percent(max(s.fraction(to)-s.fraction(from), 0))
}

func percent(f float64) string {
	return strconv.FormatFloat(math.Round(f*1e5)/1e3, 'f', -1, 64) + "%"
}

// tick is a line of the axis.
type tick struct {
	at   time.Duration
	tier int // of widths, from which on it is drawn
}

// ticks are the lines of the axis: a few, and more between them for charts that are
// drawn wider. Each of a finer tier divides those before evenly.
func (s scale) ticks() []tick {
	const atMost = 4
	step := niceStep(s.end, atMost)
	seen := make(map[time.Duration]bool)
	var all []tick
	for _, tier := range []int{0, usual, 5} {
		for at := time.Duration(0); at >= 0 && at <= s.end; at += step { // it may overflow
			if !seen[at] {
				seen[at] = true
				all = append(all, tick{at, tier})
			}
		}
		step = finer(step)
	}
	return all
}

// steps returns the distances that ticks may have, the shortest first.
func steps() []time.Duration {
	var all []time.Duration
	for unit := time.Duration(1); unit < 10*time.Second; unit *= 10 {
		all = append(all, unit, 2*unit, 5*unit)
	}
	for _, seconds := range []int{10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600} {
		all = append(all, time.Duration(seconds)*time.Second)
	}
	for long := 12 * time.Hour; long < math.MaxInt64/4; long *= 2 {
		all = append(all, long)
	}
	return all
}

// niceStep returns the shortest step of which atMost fit.
func niceStep(length time.Duration, atMost int) time.Duration {
	all := steps()
	for _, step := range all {
		if length/step <= time.Duration(atMost) {
			return step
		}
	}
	return all[len(all)-1]
}

// finer returns the shortest step that divides another into five at most, or the same
// if there is none.
func finer(step time.Duration) time.Duration {
	for _, s := range steps() {
		if s <= step && step%s == 0 && step/s <= 5 {
			return s
		}
	}
	return step
}

// tickLabel writes a time of the axis, in a unit that suits the whole of it.
func (s scale) tickLabel(t time.Duration) string {
	switch {
	case t == 0:
		return "0"
	case s.end < time.Millisecond:
		return number(float64(t)/float64(time.Microsecond)) + " µs"
	case s.end < time.Second:
		return number(float64(t)/float64(time.Millisecond)) + " ms"
	case s.end < 2*time.Minute:
		return number(t.Seconds()) + " s"
	}
	text := t.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// span writes how long something lasts, with three digits.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + span(-d)
	case d < time.Millisecond:
		return significant(float64(d)/float64(time.Microsecond)) + " µs"
	case d < time.Second:
		return significant(float64(d)/float64(time.Millisecond)) + " ms"
	case d < 2*time.Minute:
		return significant(d.Seconds()) + " s"
	}
	return d.Round(time.Second).String()
}

func significant(f float64) string {
	switch {
	case f < 10:
		return strconv.FormatFloat(f, 'f', 2, 64)
	case f < 100:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'f', 0, 64)
}

// moment writes when something was, to a thousandth of the chart or better.
func (s scale) moment(t time.Duration) string {
	switch {
	case s.end < time.Millisecond:
		return strconv.FormatFloat(float64(t)/float64(time.Microsecond), 'f', 2, 64) + " µs"
	case s.end < time.Second:
		return strconv.FormatFloat(float64(t)/float64(time.Millisecond), 'f', 2, 64) + " ms"
	case s.end < 2*time.Minute:
		return strconv.FormatFloat(t.Seconds(), 'f', 3, 64) + " s"
	}
	return t.Round(10 * time.Millisecond).String()
}
