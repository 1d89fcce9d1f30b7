package chart

import (
	"cmp"
	"fmt"
	"slices"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Series is a line.
type Series struct {
	// Name is its entry in the legend.
	Name string
	// Points are joined in the order of their X.
	Points []Point
	// Muted makes it grey and dashed: a limit, or something to compare with.
	Muted bool
}

// Point is a point of a line, with the spread around it if Low and High are not both
// zero.
type Point struct {
	X, Y, Low, High float64
}

// spread reports whether there is one.
func (p Point) spread() bool { return p.Low != 0 || p.High != 0 }

// Lines draws lines on axes that are both numeric. A linear Y begins with zero. The
// spread of points is between two thin lines.
func Lines(f Frame, series []Series) ([]byte, error) {
	x, y, err := linesSpans(f, series)
	if err != nil {
		return nil, err
	}
	p := newPlot(f, f.X.padded(x), f.Y.fromZero(y))
	p.Add(grid(p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max), p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max)))
	var keys []key
	for i, s := range series {
		c := colorOf(i)
		line := stroke(c, 1.6)
		if s.Muted {
			c = muted()
			line = dashed(c, 1.6)
		}
		keys = append(keys, key{s.Name, line})
		points := slices.SortedFunc(slices.Values(s.Points), func(a, b Point) int { return cmp.Compare(a.X, b.X) })
		p.Add(painter(func(canvas draw.Canvas, x, y func(float64) vg.Length) {
			low, high := edges(points, x, y)
			canvas.StrokeLines(stroke(c, .6), low, high)
			var corners []vg.Point
			for _, pt := range points {
				corners = append(corners, vg.Point{X: x(pt.X), Y: y(pt.Y)})
			}
			canvas.StrokeLines(line, corners)
			for _, at := range corners {
				canvas.DrawGlyph(draw.GlyphStyle{Color: c, Radius: 2.2, Shape: draw.CircleGlyph{}}, at)
			}
		}))
	}
	return paint(f, keys, Height, p.Draw)
}

// linesSpans returns the ranges of points and their spreads.
func linesSpans(f Frame, series []Series) (x, y span, err error) {
	x, y = newSpan(), newSpan()
	for _, s := range series {
		for _, p := range s.Points {
			ys := []float64{p.Y}
			if p.spread() {
				ys = append(ys, p.Low, p.High)
			}
			if err := f.X.check(s.Name, p.X); err != nil {
				return x, y, err
			}
			x.add(p.X)
			for _, v := range ys {
				if err := f.Y.check(fmt.Sprintf("%s at %v", s.Name, p.X), v); err != nil {
					return x, y, err
				}
				y.add(v)
			}
		}
	}
	if x.empty {
		return x, y, ErrNothing
	}
	return x, y, nil
}

// edges returns the lower and the upper edge of the spreads.
func edges(points []Point, x, y func(float64) vg.Length) (low, high []vg.Point) {
	for _, p := range points {
		if p.spread() {
			low = append(low, vg.Point{X: x(p.X), Y: y(p.Low)})
			high = append(high, vg.Point{X: x(p.X), Y: y(p.High)})
		}
	}
	return low, high
}
