package chart

import (
	"fmt"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// BarSeries has a bar in each group.
type BarSeries struct {
	// Name is its entry in the legend.
	Name string
	// Bars has a value per group; one whose Y is zero is left out.
	Bars []Bar
	// Muted makes it grey.
	Muted bool
}

// Bar is a value, with its spread if Low and High are not both zero.
type Bar struct {
	Y, Low, High float64
}

// Bars draws bars side by side for each group. On a logarithmic Y they begin at the
// lower end, and their lengths mean nothing.
func Bars(f Frame, groups []string, series []BarSeries) ([]byte, error) {
	y, err := barsSpan(f, groups, series)
	if err != nil {
		return nil, err
	}
	p := newPlot(f, span{low: -.5, high: float64(len(groups)) - .5}, f.Y.fromZero(y))
	var names []plot.Tick
	for i, g := range groups {
		names = append(names, plot.Tick{Value: float64(i), Label: g})
	}
	p.X.Tick.Marker, p.X.Tick.Length, p.X.Scale = plot.ConstantTicks(names), 0, plot.LinearScale{}
	p.Add(grid(nil, p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max)))
	var keys []key
	for i, s := range series {
		c := colorOf(i)
		if s.Muted {
			c = muted()
		}
		keys = append(keys, key{s.Name, stroke(c, 3)})
		p.Add(painter(func(canvas draw.Canvas, x, y func(float64) vg.Length) {
			const group = .8 // of the room of a group is covered
			width := group / float64(len(series))
			for g, b := range s.Bars {
				if b.Y == 0 {
					continue
				}
				left := float64(g) - group/2 + width*float64(i)
				box := vg.Rectangle{
					Min: vg.Point{X: x(left + width*.06), Y: canvas.Min.Y},
					Max: vg.Point{X: x(left + width*.94), Y: y(b.Y)},
				}
				canvas.SetColor(c)
				canvas.Fill(box.Path())
				if b.Low != 0 || b.High != 0 {
					middle := x(left + width/2)
					canvas.StrokeLine2(stroke(ink(), .8), middle, y(b.Low), middle, y(b.High))
				}
			}
		}))
	}
	return paint(f, keys, Height, p.Draw)
}

func barsSpan(f Frame, groups []string, series []BarSeries) (span, error) {
	y := newSpan()
	for _, s := range series {
		if len(s.Bars) != len(groups) {
			return y, fmt.Errorf("chart: %s: %d bars: want one for each of %d groups", s.Name, len(s.Bars), len(groups))
		}
		for g, b := range s.Bars {
			if b.Y == 0 {
				continue
			}
			values := []float64{b.Y}
			if b.Low != 0 || b.High != 0 {
				values = append(values, b.Low, b.High)
			}
			for _, v := range values {
				if err := f.Y.check(s.Name+" in "+groups[g], v); err != nil {
					return y, err
				}
				if v < 0 {
					return y, fmt.Errorf("chart: %s in %s: %v: want a value of at least 0", s.Name, groups[g], v)
				}
				y.add(v)
			}
		}
	}
	if y.empty {
		return y, ErrNothing
	}
	return y, nil
}
