package timeline

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"
)

// mostText and mostHTML are how much of a detail a page takes in, in bytes.
const (
	mostText = 256 << 10
	mostHTML = 8 << 20
)

// What the template is given.
type (
	pageView struct {
		Page

		Style      template.CSS
		Paragraphs []string
		Grid       *tableView
		Views      []chartView
	}
	tableView struct {
		*Table

		Lines []lineView
	}
	lineView struct {
		Name  string
		Cells []cellView
	}
	cellView struct {
		Cell

		Badge badge
	}
	badge struct{ Class, Sign, Text string }

	chartView struct {
		Chart

		Paragraphs []string
		Badge      badge
		Judged     string
		Overlapped bool
		Drawing    *drawing
		Legend     []legend
		About      string
		Thinned    string
		Entries    []entry
		Left       int
		Folded     []Detail
	}
)

func (p Page) view() pageView {
	v := pageView{Page: p, Style: template.CSS(styleSheet), Paragraphs: paragraphs(p.Intro), Grid: p.Table.view()}
	for _, c := range p.Charts {
		v.Views = append(v.Views, c.view(share(len(p.Charts))))
	}
	return v
}

func (t *Table) view() *tableView {
	if t == nil {
		return nil
	}
	v := &tableView{Table: t}
	for _, r := range t.Rows {
		line := lineView{Name: r.Name}
		for _, c := range r.Cells {
			line.Cells = append(line.Cells, cellView{c, c.Verdict.badge(c.Text)})
		}
		for len(line.Cells) < len(t.Columns) {
			line.Cells = append(line.Cells, cellView{})
		}
		v.Lines = append(v.Lines, line)
	}
	return v
}

// badge returns how a verdict is shown: its colour is not the only sign of it.
func (v Verdict) badge(text string) badge {
	if text == "" {
		text = string(v)
	}
	switch v {
	case Held:
		return badge{"held", "✓", text}
	case BrokenExpected:
		return badge{"expected", "≈", text}
	case Broken:
		return badge{"broken", "✗", text}
	case Skipped:
		return badge{"skipped", "–", text}
	case Unjudged:
	}
	return badge{"plain", "", text}
}

func (c Chart) view(most int) chartView {
	v := chartView{Chart: c, Paragraphs: paragraphs(c.Text), Badge: c.Verdict.badge("")}
	for _, d := range c.Details {
		v.Folded = append(v.Folded, d.bounded())
	}
	c.Lanes = withLanesOf(c.Bands, c.Lanes)
	if len(c.Lanes) == 0 {
		return v
	}
	end := c.end()
	overlaps := c.Overlaps
	if overlaps == nil {
		overlaps = Overlaps(c.Lanes, end)
	}
	lanes := thin(c.Lanes, end, most)
	d := draw(end, lanes, thinBands(c.Bands, end, most/4), thinOverlaps(overlaps, end, most/4))
	v.Drawing, v.Legend, v.About = d, d.legend(), describe(c, d)
	v.Judged, v.Overlapped = judged(c.Lanes, overlaps), len(overlaps) > 0
	v.Thinned = thinned(lanes)
	v.Entries, v.Left = d.list(lanes)
	return v
}

// withLanesOf adds a lane for each that bands name and there is not, such as that of a
// server.
func withLanesOf(bands []Band, lanes []Lane) []Lane {
	lanes = slices.Clip(lanes)
	for _, b := range bands {
		if b.Lane != "" && !slices.ContainsFunc(lanes, func(l Lane) bool { return l.Name == b.Lane }) {
			lanes = append(lanes, Lane{Name: b.Lane})
		}
	}
	return lanes
}

// end returns when the chart ends.
func (c Chart) end() time.Duration {
	end := max(c.Length, shortest)
	for _, l := range c.Lanes {
		for _, b := range l.Bars {
			end = max(end, b.From, b.To)
		}
		for _, m := range l.Marks {
			end = max(end, m.At)
		}
	}
	for _, b := range c.Bands {
		end = max(end, b.From, b.To)
	}
	return end
}

// bounded returns the detail as far as a page takes it in.
func (d Detail) bounded() Detail {
	if len(d.HTML) > mostHTML {
		d.Text = fmt.Sprintf("Left out: a document of %d bytes, more than %d.", len(d.HTML), mostHTML)
		d.HTML = ""
	}
	if len(d.Text) > mostText {
		d.Text = strings.ToValidUTF8(d.Text[:mostText], "") + fmt.Sprintf("\n... and %d more bytes", len(d.Text)-mostText)
	}
	return d
}

// paragraphs are what empty lines separate.
func paragraphs(text string) []string {
	var all []string
	for p := range strings.SplitSeq(text, "\n\n") {
		if p = strings.TrimSpace(p); p != "" {
			all = append(all, p)
		}
	}
	return all
}
