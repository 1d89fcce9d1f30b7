package chart

import "image/color"

// Colors is how many colours there are; series after them begin with the first again.
const Colors = 8

// colors tell series apart, also for the colour-blind (Okabe and Ito 2008,
// and two of Tol 2021).
func colors() [Colors]color.NRGBA {
	return [Colors]color.NRGBA{
		{R: 0x00, G: 0x72, B: 0xB2, A: 0xFF}, // blue
		{R: 0xD5, G: 0x5E, B: 0x00, A: 0xFF}, // vermilion
		{R: 0x00, G: 0x9E, B: 0x73, A: 0xFF}, // green
		{R: 0xCC, G: 0x79, B: 0xA7, A: 0xFF}, // purple
		{R: 0xE6, G: 0x9F, B: 0x00, A: 0xFF}, // orange
		{R: 0x56, G: 0xB4, B: 0xE9, A: 0xFF}, // sky
		{R: 0x88, G: 0x22, B: 0x55, A: 0xFF}, // wine
		{R: 0x33, G: 0x22, B: 0x88, A: 0xFF}, // indigo
	}
}

func ink() color.Color  { return color.NRGBA{R: 0x20, G: 0x20, B: 0x20, A: 0xFF} }
func grey() color.Color { return color.NRGBA{R: 0x66, G: 0x66, B: 0x66, A: 0xFF} }
func rule() color.Color { return color.NRGBA{R: 0xDD, G: 0xDD, B: 0xDD, A: 0xFF} }

// colorOf returns the colour of series i.
func colorOf(i int) color.NRGBA { return colors()[i%Colors] }

// muted is the colour of what others are compared with.
func muted() color.NRGBA { return color.NRGBA{R: 0x80, G: 0x80, B: 0x80, A: 0xFF} }

// faint returns the colour, mostly transparent.
func faint(c color.NRGBA) color.NRGBA {
	c.A = 0x38
	return c
}
