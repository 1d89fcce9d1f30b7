package chart

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
)

// span is the range of an axis.
type span struct {
	low, high float64
	empty     bool
}

func newSpan() span { return span{low: math.Inf(1), high: math.Inf(-1), empty: true} }

// add widens the span to hold a value.
func (s *span) add(v float64) {
	s.low, s.high, s.empty = math.Min(s.low, v), math.Max(s.high, v), false
}

// check returns an error for what an axis cannot show.
func (a Axis) check(what string, v float64) error {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return fmt.Errorf("chart: %s: %v: want a finite value", what, v)
	}
	if a.Log && v <= 0 {
		return fmt.Errorf("chart: %s: %v: want a value above 0 on a logarithmic axis", what, v)
	}
	return nil
}

// padded returns a span with room at its ends, so that nothing is drawn on an edge.
func (a Axis) padded(s span) span {
	const share = .05
	if a.Log {
		room := math.Max((math.Log10(s.high)-math.Log10(s.low))*share, .05)
		return span{low: s.low * math.Pow(10, -room), high: s.high * math.Pow(10, room)}
	}
	room := (s.high - s.low) * share
	if room == 0 {
		room = math.Max(math.Abs(s.high)*share, 1)
	}
	return span{low: s.low - room, high: s.high + room}
}

// fromZero returns a span padded, beginning with zero if the axis is linear and the span
// has nothing below: lengths can then be compared.
func (a Axis) fromZero(s span) span {
	p := a.padded(s)
	if !a.Log && s.low >= 0 {
		p.low = 0
	}
	return p
}

// ticks marks round numbers.
type ticks struct{ log bool }

// Ticks implements [plot.Ticker].
func (t ticks) Ticks(low, high float64) []plot.Tick {
	if t.log {
		return logTicks(low, high)
	}
	var all []plot.Tick
	step := stepOf((high - low) / 5)
	for i := math.Ceil(low/step - 1e-9); i*step <= high*(1+1e-9); i++ {
		all = append(all, plot.Tick{Value: i * step, Label: number(i * step)})
	}
	return all
}

// stepOf returns the round number nearest to about a step.
func stepOf(about float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(about)))
	switch f := about / power; {
	case f < 1.5:
		return power
	case f < 3.5:
		return 2 * power
	case f < 7.5:
		return 5 * power
	default:
		return 10 * power
	}
}

// logTicks labels powers of ten: those of a hundred where there are many, and multiples by
// two and five as well where there are few.
func logTicks(low, high float64) []plot.Tick {
	const few, many = 2.3, 6 // decades
	decades := math.Log10(high / low)
	var all []plot.Tick
	for e := math.Floor(math.Log10(low)); e <= math.Log10(high); e++ {
		for m := 1.0; m < 10; m++ {
			v := m * math.Pow(10, e)
			if v < low*(1-1e-9) || v > high*(1+1e-9) {
				continue
			}
			tick := plot.Tick{Value: v}
			switch {
			case m == 1 && (decades < many || math.Mod(e, 2) == 0), decades < few && (m == 2 || m == 5):
				tick.Label = number(v)
			}
			all = append(all, tick)
		}
	}
	return all
}

// number writes a number as people do.
func number(v float64) string {
	if v == 0 { // or minus zero
		return "0"
	}
	s := strconv.FormatFloat(v, 'g', 6, 64)
	if math.Abs(v) >= 1e4 && math.Abs(v) < 1e15 {
		s = strconv.FormatFloat(v, 'f', 0, 64)
	} else if strings.Contains(s, "e") {
		s = strconv.FormatFloat(v, 'f', -1, 64)
	}
	sign, digits := "", s
	if strings.HasPrefix(s, "-") {
		sign, digits = "−", s[1:]
	}
	whole, part, _ := strings.Cut(digits, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if part != "" {
		part = "." + part
	}
	return sign + whole + part
}
