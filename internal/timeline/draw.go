package timeline

import (
	"fmt"
	"strings"
	"time"
)

const (
	axisHeight  = 24 // pixels, as all heights
	stripHeight = 18
)

// rect is a part of a drawing: X and W in percent, Y and H in pixels.
type rect struct {
	X, W  string
	Y, H  int
	Class string
	Tip   string
}

// stroke is an upright line.
type stroke struct {
	X      string
	Y1, Y2 int
	Class  string
	Tip    string
}

// symbol is a mark.
type symbol struct {
	X     string
	Y     int
	Class string
	Tip   string
}

// label is a text, moved by DX pixels.
type label struct {
	X     string
	DX, Y int
	Class string
	Text  string
}

// row is the name of a lane, or of something above the lanes.
type row struct {
	Name, Text string
	Class      string

	Top, Height int
}

// drawing is the SVG of a chart, and the names beside it.
type drawing struct {
	scale

	Rows    []row
	Rects   []rect
	Strokes []stroke
	Symbols []symbol
	Labels  []label
	Height  int
	Dense   bool            // there is more to see when it is stretched
	used    map[string]bool // classes
	bands   []Band
	overlap []Overlap
}

// draw draws lanes that have been thinned.
func draw(end time.Duration, lanes []drawnLane, bands []Band, overlaps []Overlap) *drawing {
	d := &drawing{scale: scale{end}, bands: bands, overlap: overlaps, used: make(map[string]bool)}
	d.addRow(row{Name: "time", Class: "axis"}, axisHeight)
	d.drawOverlaps()
	d.drawBandsOfAll(lanes)
	for _, l := range lanes {
		d.drawLane(l)
	}
	d.drawAxis()
	return d
}

// addRow makes room below, and returns where that begins.
func (d *drawing) addRow(r row, height int) (top int) {
	top = d.Height
	r.Top, r.Height = top, height
	d.Rows = append(d.Rows, r)
	d.Height += height
	return top
}

func (d *drawing) rect(from, to time.Duration, y, h int, class, tip string) {
	d.use(class)
	d.Rects = append(d.Rects, rect{X: d.at(from), W: d.between(from, to), Y: y, H: h, Class: class, Tip: tip})
}

// use remembers a class for the legend.
func (d *drawing) use(class string) { d.used[strings.Fields(class)[0]] = true }

// label adds a text, unless there is no room for it.
func (d *drawing) label(at time.Duration, dx, y int, class, text string, tier int) {
	d.Dense = d.Dense || tier != 0
	if tier != hidden {
		d.Labels = append(d.Labels, label{X: d.at(at), DX: dx, Y: y, Class: fmt.Sprintf("%s t%d", class, tier), Text: text})
	}
}

// beside adds a text on that side of a place on which there is room.
func (d *drawing) beside(l *line, at time.Duration, gap, y int, class, text string) {
	if text = shorten(text); text != "" {
		d.labelAt(l.place(text, d.fraction(at), float64(gap)), at, gap, y, class, text)
	}
}

func (d *drawing) labelAt(s spot, at time.Duration, gap, y int, class, text string) {
	if s.left {
		gap, class = -gap, class+" left"
	}
	d.label(at, gap, y, class, text, s.tier)
}

// drawAxis draws the ticks, over the whole height.
func (d *drawing) drawAxis() {
	for _, t := range d.ticks() {
		tier := fmt.Sprintf(" t%d", t.tier)
		d.Strokes = append(d.Strokes, stroke{X: d.at(t.at), Y1: axisHeight - 4, Y2: d.Height, Class: "grid" + tier})
		class := "tick"
		switch f := d.fraction(t.at); {
		case f < 0.03:
			class = "tick first"
		case f > 0.95:
			class = "tick left"
		}
		d.Labels = append(d.Labels, label{X: d.at(t.at), Y: axisHeight - 9, Class: class + tier, Text: d.tickLabel(t.at)})
	}
}

// drawOverlaps says above the lanes where more than one held.
func (d *drawing) drawOverlaps() {
	if len(d.overlap) == 0 {
		return
	}
	top := d.addRow(row{Name: "overlap", Class: "strip alarm"}, stripHeight)
	l := newLine()
	for _, o := range d.overlap {
		d.rect(o.From, o.To, top+4, stripHeight-8, "overlap", d.tipOfOverlap(o))
		l.reserve(d.fraction(o.From), d.fraction(o.To), 4)
	}
	for _, o := range d.overlap {
		d.beside(l, o.To, 5, top+13, "alarm", o.holders())
	}
}

// drawBandsOfAll draws what was done to all lanes, as high as these will be.
func (d *drawing) drawBandsOfAll(lanes []drawnLane) {
	bands := bandsOf(d.bands, "")
	if len(bands) == 0 {
		return
	}
	top := d.addRow(row{Name: "all lanes", Class: "strip"}, stripHeight)
	height := stripHeight
	for _, l := range lanes {
		height += d.layout(l).height
	}
	d.drawBands(bands, top, height)
}

// drawBands draws bands with their labels on top.
func (d *drawing) drawBands(bands []Band, top, height int) {
	l := newLine()
	for _, b := range bands {
		d.rect(b.From, b.until(d.end), top, height, "band", d.tipOfBand(b))
		d.beside(l, b.From, 4, top+12, "caption", b.Label)
	}
}

// bandsOf returns the bands of a lane; "" are those of all.
func bandsOf(bands []Band, lane string) []Band {
	var of []Band
	for _, b := range bands {
		if b.Lane == lane {
			of = append(of, b)
		}
	}
	return of
}

func (b Band) until(end time.Duration) time.Duration {
	if b.To == 0 {
		return end
	}
	return max(b.To, b.From)
}

// holders says how many held.
func (o Overlap) holders() string {
	if len(o.Lanes) < 2 {
		return "held twice"
	}
	return fmt.Sprintf("%d held", len(o.Lanes))
}
