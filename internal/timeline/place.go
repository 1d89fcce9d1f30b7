package timeline

import (
	"slices"
	"unicode/utf8"
)

const (
	// symbolWidth is how wide a mark is, in pixels.
	symbolWidth = 14
	// longestLabel is how much of a label is drawn; the tooltip has all of it.
	longestLabel = 28
	// sideChange is from where on labels are on the left of what they belong to.
	sideChange = 0.8
)

// tiers are the widths in pixels from which on a label may be drawn because there is
// room for it then: of a telephone, of a tablet, of a wide screen, and of charts that
// are stretched. The style sheet has the same.
func tiers() []float64 { return []float64{270, 600, 1000, 1800, 3000, 6000, 10000} }

// usual is the tier of a wide screen.
const usual = 2

// hidden is the tier of a label for which there is no room anywhere.
const hidden = -1

// room returns the first tier at which text fits into a part of the chart.
func room(text string, part float64) int {
	for tier, width := range tiers() {
		if part*width >= textWidth(text)+4 {
			return tier
		}
	}
	return hidden
}

// textWidth estimates how wide a text is drawn, in pixels.
func textWidth(text string) float64 {
	width := 0.0
	for _, r := range text {
		if r < 0x1100 {
			width += 6.5
		} else {
			width += 12
		}
	}
	return width
}

// shorten cuts what is too long for a label.
func shorten(text string) string {
	if utf8.RuneCountInString(text) <= longestLabel {
		return text
	}
	return string([]rune(text)[:longestLabel-1]) + "…"
}

// line is where labels stand side by side, each at the first tier at which it does
// not touch another.
type line struct {
	taken [][]extent // by tier
}

// extent is a part of a line, in pixels.
type extent struct{ from, to float64 }

func newLine() *line { return &line{taken: make([][]extent, len(tiers()))} }

// reserve keeps what is drawn there, and a little around it, free of labels.
func (l *line) reserve(from, to, around float64) {
	for tier, w := range tiers() {
		l.taken[tier] = append(l.taken[tier], extent{from*w - around/2, to*w + around/2})
	}
}

// spot is where a label stands beside a place.
type spot struct {
	tier int
	left bool
}

// place finds room for a label beside a place and keeps it. gap is how far the label
// stands off.
func (l *line) place(text string, at, gap float64) spot {
	s, beside := l.find(text, at, gap)
	if s.tier != hidden {
		l.keep(s.tier, at, beside)
	}
	return s
}

// tierFor returns where place would put a label.
func (l *line) tierFor(text string, at, gap float64) int {
	s, _ := l.find(text, at, gap)
	return s.tier
}

func (l *line) find(text string, at, gap float64) (spot, extent) {
	width := textWidth(text) + 6
	for tier := range tiers() {
		for _, left := range []bool{at > sideChange, at <= sideChange} {
			beside := extent{gap, gap + width}
			if left {
				beside = extent{-gap - width, -gap}
			}
			if l.free(tier, at, beside) {
				return spot{tier, left}, beside
			}
		}
	}
	return spot{tier: hidden}, extent{}
}

// free reports whether a label has room beside a place on a chart of a tier's width
// and on all that are wider: labels may be there that have none on this one.
func (l *line) free(first int, at float64, beside extent) bool {
	for tier := first; tier < len(l.taken); tier++ {
		e := beside.at(at, tier)
		if e.from < 0 || e.to > tiers()[tier] || slices.ContainsFunc(l.taken[tier], e.touches) {
			return false
		}
	}
	return true
}

// keep takes what a label needs.
func (l *line) keep(first int, at float64, beside extent) {
	for tier := first; tier < len(l.taken); tier++ {
		l.taken[tier] = append(l.taken[tier], beside.at(at, tier))
	}
}

// at returns where the extent is beside a place, on a chart of a tier's width.
func (e extent) at(at float64, tier int) extent {
	x := at * tiers()[tier]
	return extent{x + e.from, x + e.to}
}

func (e extent) touches(o extent) bool { return e.from < o.to && o.from < e.to }
