package chart

import (
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// grid draws a faint line at each labelled tick.
func grid(xs, ys []plot.Tick) painter {
	return func(c draw.Canvas, x, y func(float64) vg.Length) {
		for _, t := range xs {
			if !t.IsMinor() {
				c.StrokeLine2(stroke(rule(), .5), x(t.Value), c.Min.Y, x(t.Value), c.Max.Y)
			}
		}
		for _, t := range ys {
			if !t.IsMinor() {
				c.StrokeLine2(stroke(rule(), .5), c.Min.X, y(t.Value), c.Max.X, y(t.Value))
			}
		}
	}
}
