package chart

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"image/color"
	"strings"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Width is how wide charts are, in pixels, and Height how high those are that do not say.
const (
	Width  = 760
	Height = 400
)

const (
	margin   = 8
	gap      = 6
	swatch   = 18
	textSize = 9.5 // points, of which three are four pixels
)

// ErrNothing is returned for a chart of nothing.
var ErrNothing = errors.New("chart: nothing to draw")

// Frame is what charts have in common.
type Frame struct {
	// Title is written above the chart, and Note below it, smaller: what the reader
	// needs to know to read it.
	Title, Note string
	// X and Y are the axes.
	X, Y Axis
	// Height is in pixels. Zero means the default, or what the rows take.
	Height int
}

// Axis is one axis.
type Axis struct {
	// Label is the quantity with its unit.
	Label string
	// Log makes the axis logarithmic; values must then be above zero.
	Log bool
}

// key is an entry of a legend.
type key struct {
	name string
	line draw.LineStyle
}

// paint draws a plot with its frame as SVG. plotted is called with the part of the canvas
// that is left for the plot.
func paint(f Frame, keys []key, height int, plotted func(draw.Canvas)) ([]byte, error) {
	if f.Height > 0 {
		height = f.Height
	}
	svg := vgsvg.New(pixels(Width), pixels(height))
	c := draw.New(svg)
	c.SetColor(color.White)
	c.Fill(c.Path())
	c = draw.Crop(c, margin, -margin, margin, -margin)
	c.Max.Y = write(c, c.Max.Y, f.Title, style(textSize+2, xfont.WeightBold, ink()))
	c.Max.Y = write(c, c.Max.Y, f.Note, style(textSize, xfont.WeightNormal, grey()))
	c.Max.Y = legend(c, keys) - gap
	plotted(c)
	var out bytes.Buffer
	if _, err := svg.WriteTo(&out); err != nil {
		return nil, fmt.Errorf("chart: %w", err)
	}
	return finish(out.Bytes(), f.Title), nil
}

// finish names fonts that readers have, and the chart for those who cannot see it.
func finish(svg []byte, title string) []byte {
	_, body, _ := bytes.Cut(svg, []byte("<svg "))
	s := `<svg role="img" ` + string(body)
	s = strings.ReplaceAll(s, "font-family:Liberation Sans;font-variant:normal;",
		"font-family:'Liberation Sans',Arial,Helvetica,sans-serif;")
	head, rest, _ := strings.Cut(s, ">\n")
	return []byte(head + ">\n<title>" + html.EscapeString(title) + "</title>\n" + rest)
}

// write writes lines at the top left and returns where they end.
func write(c draw.Canvas, top vg.Length, s string, sty text.Style) vg.Length {
	if s == "" {
		return top
	}
	for line := range strings.Lines(s) {
		c.FillText(sty, vg.Point{X: c.Min.X, Y: top}, strings.TrimSpace(line))
		top -= sty.FontExtents().Height
	}
	return top - gap/2
}

// legend writes what the colours mean, in as many rows as it takes, and returns where
// they end. One colour needs no legend.
func legend(c draw.Canvas, keys []key) vg.Length {
	if len(keys) < 2 {
		return c.Max.Y
	}
	sty := style(textSize, xfont.WeightNormal, ink())
	row := sty.FontExtents().Height + gap/2
	x, y := c.Min.X, c.Max.Y-gap
	for _, k := range keys {
		width := swatch + gap + sty.Width(k.name)*1.15 + 3*gap
		if x > c.Min.X && x+width > c.Max.X {
			x, y = c.Min.X, y-row
		}
		middle := y - row/2 + 1
		k.line.Width = 3
		c.StrokeLine2(k.line, x, middle, x+swatch, middle)
		c.FillText(sty, vg.Point{X: x + swatch + gap, Y: y}, k.name)
		x += width
	}
	return y - row
}

// newPlot returns an empty plot with the frame's axes, on the ranges given.
func newPlot(f Frame, x, y span) *plot.Plot {
	p := plot.New()
	for _, a := range []struct {
		axis *plot.Axis
		want Axis
		span span
	}{{&p.X, f.X, x}, {&p.Y, f.Y, y}} {
		a.axis.Label.Text = a.want.Label
		a.axis.Label.TextStyle.Font = face(textSize, xfont.WeightNormal)
		a.axis.Label.Padding = gap / 2
		a.axis.Tick.Label.Font = face(textSize-.5, xfont.WeightNormal)
		a.axis.Tick.Length = 4
		a.axis.Color, a.axis.Tick.Color = grey(), grey()
		a.axis.Padding = 0
		a.axis.Min, a.axis.Max = a.span.low, a.span.high
		a.axis.Tick.Marker = ticks{log: a.want.Log}
		if a.want.Log {
			a.axis.Scale = plot.LogScale{}
		}
	}
	return p
}

// painter is something that is drawn on a plot.
type painter func(c draw.Canvas, x, y func(float64) vg.Length)

// Plot implements [plot.Plotter].
func (p painter) Plot(c draw.Canvas, on *plot.Plot) {
	x, y := on.Transforms(&c)
	p(c, x, y)
}

func pixels(n int) vg.Length { return vg.Length(n) * 3 / 4 }

func face(size vg.Length, weight xfont.Weight) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Weight: weight, Size: size}
}

func style(size vg.Length, weight xfont.Weight, c color.Color) text.Style {
	return text.Style{Color: c, Font: face(size, weight), YAlign: draw.YTop, Handler: plot.DefaultTextHandler}
}

func stroke(c color.Color, width vg.Length) draw.LineStyle {
	return draw.LineStyle{Color: c, Width: width}
}

func dashed(c color.Color, width vg.Length) draw.LineStyle {
	return draw.LineStyle{Color: c, Width: width, Dashes: []vg.Length{4, 3}}
}
