package chart

import (
	"fmt"
	"image/color"
	"math"
	"math/rand/v2"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Interval is a row with a range and a point in it, or a heading.
type Interval struct {
	// Name is written to the left.
	Name string
	// Low, Mid and High are the range and the point. All are zero for a heading.
	Low, Mid, High float64
	// Color is the number of its colour; Muted makes it grey.
	Color int
	Muted bool
}

func (r Interval) heading() bool { return r.Low == 0 && r.Mid == 0 && r.High == 0 }

// Intervals draws a row for each range (a forest plot), with its numbers to the right and
// a line at 1.
func Intervals(f Frame, rows []Interval) ([]byte, error) {
	x := newSpan()
	var labels []label
	for _, r := range rows {
		labels = append(labels, r.label())
		if r.heading() {
			continue
		}
		for _, v := range []float64{r.Low, r.Mid, r.High} {
			if err := f.X.check(r.Name, v); err != nil {
				return nil, err
			}
			x.add(v)
		}
	}
	if x.empty {
		return nil, ErrNothing
	}
	x.add(1)
	return paintRows(f, x, 1, labels, func(c draw.Canvas, x, y func(float64) vg.Length) {
		for i, r := range rows {
			if r.heading() {
				continue
			}
			color, at := colorOf(r.Color), y(float64(i))
			if r.Muted {
				color = muted()
			}
			c.StrokeLine2(stroke(color, 2), x(r.Low), at, x(r.High), at)
			c.DrawGlyph(draw.GlyphStyle{Color: color, Radius: 3.5, Shape: draw.CircleGlyph{}}, vg.Point{X: x(r.Mid), Y: at})
		}
	})
}

func (r Interval) label() label {
	if r.heading() {
		return label{left: r.Name, bold: true}
	}
	l := label{left: r.Name, right: short(r.Mid)}
	if low, high := short(r.Low), short(r.High); low != high {
		l.right += fmt.Sprintf("  (%s–%s)", low, high)
	}
	return l
}

// short writes a ratio with two digits or three.
func short(v float64) string {
	switch {
	case v >= 100:
		return number(math.Round(v))
	case v >= 10:
		return fmt.Sprintf("%.0f", v)
	case v >= 2:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// Strip is a row of points.
type Strip struct {
	// Name is written to the left and Note to the right.
	Name, Note string
	// Values are drawn as a dot each.
	Values []float64
}

// Dots draws a row of dots for each strip, each dot a little above or below the middle so
// that they can be told apart, and a line at 0.
func Dots(f Frame, strips []Strip) ([]byte, error) {
	x := newSpan()
	var labels []label
	for _, s := range strips {
		labels = append(labels, label{left: s.Name, right: s.Note, tall: true})
		for _, v := range s.Values {
			if err := f.X.check(s.Name, v); err != nil {
				return nil, err
			}
			x.add(v)
		}
	}
	if x.empty {
		return nil, ErrNothing
	}
	return paintRows(f, x, 0, labels, func(c draw.Canvas, x, y func(float64) vg.Length) {
		for i, s := range strips {
			scatter := rand.New(rand.NewPCG(1, uint64(i))) // the same every time
			dot := draw.GlyphStyle{Color: faint(colorOf(i)), Radius: 3, Shape: draw.CircleGlyph{}}
			for _, v := range s.Values {
				at := vg.Point{X: x(v), Y: y(float64(i) + (scatter.Float64()-.5)*.6)}
				c.DrawGlyph(dot, at)
				ring := dot
				ring.Color, ring.Shape = colorOf(i), draw.RingGlyph{}
				c.DrawGlyph(ring, at)
			}
		}
	})
}

// screenful is how many rows leave the axis below them out of sight.
const screenful = 20

// scaleAbove repeats the numbers of the axis, which is below, above the rows.
func scaleAbove(p *plot.Plot) painter {
	sty := p.X.Tick.Label
	sty.XAlign, sty.YAlign = draw.XCenter, draw.YBottom
	return func(c draw.Canvas, x, _ func(float64) vg.Length) {
		for _, tick := range p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max) {
			if tick.Label != "" {
				c.FillText(sty, vg.Point{X: x(tick.Value), Y: c.Max.Y}, tick.Label)
			}
		}
	}
}

// label is what is written at a row.
type label struct {
	left, right string
	bold, tall  bool
}

// paintRows draws rows from the top down, named to the left, on one axis, with a line at
// a value that divides them if that is in sight.
func paintRows(f Frame, x span, divide float64, labels []label, marks painter) ([]byte, error) {
	row := 20
	if labels[0].tall {
		row = 64
	}
	x = f.X.padded(x)
	p := newPlot(f, x, span{low: -.6, high: float64(len(labels)) - .4})
	p.Y.Scale = plot.InvertedScale{Normalizer: plot.LinearScale{}}
	p.HideY()
	p.Add(grid(p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max), nil))
	left, right := widths(labels)
	var top vg.Length
	if len(labels) > screenful {
		top = p.X.Tick.Label.FontExtents().Height
		p.Add(scaleAbove(p))
	}
	p.Add(painter(func(c draw.Canvas, xOf, yOf func(float64) vg.Length) {
		if x.low < divide && divide < x.high {
			c.StrokeLine2(stroke(ink(), 1), xOf(divide), c.Min.Y, xOf(divide), c.Max.Y)
		}
		for i, l := range labels {
			sty := l.style(ink())
			sty.YAlign = draw.YCenter
			at := vg.Point{X: c.Min.X - left, Y: yOf(float64(i)) + sty.FontExtents().Descent}
			c.FillText(sty, at, l.left)
			at.X = c.Max.X + gap
			c.FillText(sty, at, l.right)
		}
	}), marks)
	head := 110 + int(top*4/3)
	return paint(f, nil, head+row*len(labels), func(c draw.Canvas) {
		p.Draw(draw.Crop(c, left, -right, 0, -top))
	})
}

func (l label) style(c color.Color) text.Style {
	weight := xfont.WeightNormal
	if l.bold {
		weight = xfont.WeightBold
	}
	return style(textSize, weight, c)
}

// widths returns how much room the labels need.
func widths(labels []label) (left, right vg.Length) {
	const wider = 1.15 // than measured, where the reader has neither font
	for _, l := range labels {
		sty := l.style(nil)
		if !l.bold { // headings may reach into the plot
			left = max(left, sty.Width(l.left)*wider+gap)
		}
		right = max(right, sty.Width(l.right)*wider+gap)
	}
	return left, right
}
