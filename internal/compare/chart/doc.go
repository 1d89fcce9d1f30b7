// Package chart draws figures as SVG, for pages that are read in a browser at a width of
// about 760 pixels, on white. The same figures give the same bytes.
//
// Text stays text, in a font of the reader's that is as wide as the one measured here:
// Liberation Sans, or Arial, whose letters have the same widths.
package chart
