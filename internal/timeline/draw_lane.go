package timeline

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	lanePadding   = 5
	captionHeight = 15
	barHeight     = 20
	sectionHeight = 8
	marksHeight   = 18
	wordHeight    = 13
	symbolGap     = symbolWidth/2 + 2
	leastLane     = 34
)

// layout says where in a lane things are, from its top.
type layout struct {
	bars, sections, marks int
	words                 []word // of the marks
	height                int
}

// word is the text of a mark, in the line of the marks or one below.
type word struct {
	spot

	text string
	line int
}

// layout gives a lane room for what it has.
func (d *drawing) layout(l drawnLane) layout {
	out := layout{bars: lanePadding, words: d.words(l)}
	if l.Name != "" && len(bandsOf(d.bands, l.Name)) > 0 {
		out.bars = captionHeight + 2
	}
	y := out.bars + barHeight
	out.sections = y + 2
	if slices.ContainsFunc(l.bars, func(b drawnBar) bool { return b.Class == Section }) {
		y += sectionHeight
	}
	out.marks = y + marksHeight/2
	if len(l.marks) > 0 {
		y += marksHeight
	}
	below := 0
	for _, w := range out.words {
		below = max(below, w.line)
	}
	y += below * wordHeight
	if len(l.marks) == 0 {
		y += lanePadding
	}
	out.height = max(y, leastLane)
	return out
}

// words finds room for the texts of marks, of the worst first: beside them, or below
// where neighbours are in the way.
func (d *drawing) words(l drawnLane) []word {
	lines := []*line{newLine(), newLine(), newLine()}
	for _, m := range l.marks {
		lines[0].reserve(d.fraction(m.At), d.fraction(m.At), symbolWidth)
	}
	words := make([]word, len(l.marks))
	for _, class := range []MarkClass{Bad, Told, Fault, Good, Note} {
		for i, m := range l.marks {
			if m.known() == class {
				words[i] = d.word(lines, m.At, shorten(m.text()))
			}
		}
	}
	return words
}

// word takes the first line with room at the usual widths, else the best.
func (d *drawing) word(lines []*line, at time.Duration, text string) word {
	best := word{text: text, spot: spot{tier: hidden}}
	gap := float64(symbolGap)
	for i, l := range lines {
		tier := l.tierFor(text, d.fraction(at), gap)
		if tier != hidden && (best.tier == hidden || tier < best.tier && best.tier > usual) {
			best.line, best.tier = i, tier
		}
		gap = -symbolGap // below the symbols
	}
	if best.tier != hidden {
		if gap = symbolGap; best.line > 0 {
			gap = -symbolGap
		}
		best.spot = lines[best.line].place(text, d.fraction(at), gap)
	}
	return best
}

func (d *drawing) drawLane(l drawnLane) {
	at := d.layout(l)
	top := d.addRow(row{Name: l.Name, Text: l.Text, Class: "lane"}, at.height)
	if l.Name != "" {
		d.drawBands(bandsOf(d.bands, l.Name), top, at.height)
	}
	d.drawTails(l, top+at.bars)
	for _, b := range l.bars {
		d.drawBar(l, b, top+at.bars, top+at.sections)
	}
	d.drawOverlapsIn(l, top+at.bars)
	d.drawMarks(l, at.words, top+at.marks)
}

// drawTails draws, behind the bars, for how long holds that were lost could
// have been relied on: at most until the next hold of the lane.
func (d *drawing) drawTails(l drawnLane, y int) {
	holds := slices.DeleteFunc(slices.Clone(l.bars), func(b drawnBar) bool { return !b.holds() })
	for i, b := range holds {
		from, to := b.until(d.end), min(b.Deadline, d.end)
		if b.Released || b.count > 1 || to <= from {
			continue
		}
		if i+1 < len(holds) && holds[i+1].From < to {
			to = holds[i+1].From
		} else if b.Deadline <= d.end {
			d.drawDeadline(b, y)
		}
		if to > from {
			d.rect(from, to, y+6, barHeight-12, "tail", fmt.Sprintf("%s, ended; its deadline: %s", b.name(), d.moment(b.Deadline)))
		}
	}
}

func (d *drawing) drawDeadline(b drawnBar, y int) {
	d.use("deadline")
	d.Strokes = append(d.Strokes, stroke{
		X: d.at(b.Deadline), Y1: y - 3, Y2: y + barHeight + 3, Class: "deadline",
		Tip: fmt.Sprintf("deadline of %s: %s", b.name(), d.moment(b.Deadline)),
	})
}

func (d *drawing) drawBar(l drawnLane, b drawnBar, y, sections int) {
	to, height, tip := b.until(d.end), barHeight, d.tipOfBar(l.Name, b)
	class := b.class()
	switch b.known() {
	case Wait:
		y, height = y+barHeight/2-2, 4
	case Section:
		y, height = sections, sectionHeight-2
	case Hold, Shared, Other:
	}
	d.rect(b.From, to, y, height, class, tip)
	if b.holds() && b.late(d.end) {
		d.rect(max(b.Deadline, b.From), to, y, height, "late", tip)
		d.drawDeadline(b, y)
		to = max(b.Deadline, b.From)
	}
	if height == barHeight {
		d.drawName(b, to, y, class)
	}
	if b.To == 0 {
		d.Symbols = append(d.Symbols, symbol{X: d.at(d.end), Y: y + height/2, Class: "open", Tip: tip})
	}
}

// class returns how a bar is drawn.
func (b drawnBar) class() string {
	class := string(b.known())
	if class == "" {
		class = "hold"
	}
	if b.count > 1 {
		class += " many"
	}
	return class
}

// drawName writes the label of a bar on it.
func (d *drawing) drawName(b drawnBar, to time.Duration, y int, class string) {
	text := shorten(b.Label)
	if b.count > 1 {
		text = fmt.Sprintf("%d×", b.count)
	}
	if text != "" {
		tier := room(text, d.fraction(to)-d.fraction(b.From))
		middle := max(b.From, 0)/2 + min(to, d.end)/2
		d.label(middle, 0, y+barHeight-6, "on "+class, text, tier)
	}
}

// drawOverlapsIn covers the parts of holds during which others held too.
func (d *drawing) drawOverlapsIn(l drawnLane, y int) {
	for _, o := range d.overlap {
		if !slices.Contains(o.Lanes, l.Name) {
			continue
		}
		for _, b := range l.bars {
			from, to := max(o.From, b.From), min(o.To, b.reliable(d.end))
			if b.holds() && to >= from {
				d.rect(from, to, y, barHeight, "overlap", d.tipOfOverlap(o))
			}
		}
	}
}

func (d *drawing) drawMarks(l drawnLane, words []word, y int) {
	for i, m := range l.marks {
		class := m.class()
		d.use(class)
		d.Symbols = append(d.Symbols, symbol{X: d.at(m.At), Y: y, Class: class, Tip: d.tipOfMark(l.Name, m)})
		w, gap := words[i], symbolGap
		if w.line > 0 {
			gap = -symbolGap
		}
		if w.text != "" {
			d.labelAt(w.spot, m.At, gap, y+4+w.line*wordHeight, "word", w.text)
		}
	}
}

// text is what is written beside a mark.
func (m drawnMark) text() string {
	if m.count > 1 {
		return fmt.Sprintf("%d× %s", m.count, m.Label)
	}
	return m.Label
}

// known returns the class of the mark, Note for one that there is not.
func (m Mark) known() MarkClass {
	switch m.Class {
	case Fault, Told, Good, Bad:
		return m.Class
	case Note:
	}
	return Note
}

// class returns how a mark is drawn.
func (m Mark) class() string { return cmp.Or(string(m.known()), "note") }
