package screen

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
)

// Percentile returns the nearest-rank percentile of sorted durations, 0 of none.
func Percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

// Spread says how many durations there are and how they are spread.
func Spread(of string, took []time.Duration) string {
	sorted := slices.Sorted(slices.Values(took))
	at := func(p float64) string { return Millis(Percentile(sorted, p)) }
	return fmt.Sprintf("%d %s   p50 %s   p90 %s   p99 %s   max %s", len(sorted), of, at(50), at(90), at(99), at(100))
}

// Bars draws the latest durations with a legend, one bar each: the lowest is under half
// a millisecond, and each step twice as long, up to 32 ms and more.
func Bars(took []time.Duration, width int, styles Styles) string {
	const legend = "  ▁ <0.5  ▄ <4  █ >32 ms"
	room := max(width-lipgloss.Width(legend), 0)
	took = took[max(0, len(took)-room):]
	var bars strings.Builder
	for _, d := range took {
		bars.WriteRune(bar(d))
	}
	return bars.String() + strings.Repeat(" ", room-len(took)) + styles.Dim.Render(legend)
}

func bar(d time.Duration) rune {
	levels := []rune("▁▂▃▄▅▆▇█")
	if d <= 0 {
		return levels[0]
	}
	level := int(math.Ceil(math.Log2(float64(d) / float64(time.Millisecond/2))))
	return levels[min(max(level, 0), len(levels)-1)]
}
