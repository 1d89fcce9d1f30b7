// Package draw makes charts of recorded figures, and of nothing else: they can be drawn
// again without measuring.
package draw
