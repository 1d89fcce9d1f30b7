package draw

import (
	"fmt"
	"slices"

	"github.com/conclave-go/conclave/internal/compare/chart"
	"github.com/conclave-go/conclave/internal/compare/perf"
)

// told shows each partition: how long before its successor's grant a holder knew.
func told(samples []perf.Sample) ([]byte, error) {
	var strips []chart.Strip
	for _, s := range samples {
		if s.Metric != perf.Margin {
			continue
		}
		i := slices.IndexFunc(strips, func(strip chart.Strip) bool { return strip.Name == s.Side })
		if i < 0 {
			i, strips = len(strips), append(strips, chart.Strip{Name: s.Side})
		}
		strips[i].Values = append(strips[i].Values, s.Value)
	}
	for i, s := range strips {
		two := 0
		for _, v := range s.Values {
			if v < 0 {
				two++
			}
		}
		strips[i].Note = fmt.Sprintf("two holders in %d of %d", two, len(s.Values))
	}
	return chart.Dots(chart.Frame{
		Title: "A holder is cut off: from its being told to its successor's grant",
		Note:  "A dot is a partition. Left of the line the successor was granted first: two held the lock.",
		X:     chart.Axis{Label: "ms"},
	}, strips)
}
