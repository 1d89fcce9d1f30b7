package timeline_test

import (
	"math"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/timeline"
)

// WCAG 2.1, 1.4.3 and 1.4.11, level AA: texts and graphics against what is behind them.
const (
	textContrast    = 4.5
	graphicContrast = 3
)

func TestColoursHaveContrast(t *testing.T) {
	t.Parallel()
	style := texts(parse(t, write(t, timeline.Page{})), "style", "")[0]
	blocks := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllStringSubmatch(style, -1)
	require.Len(t, blocks, 3, "light, dark, print")
	for _, block := range blocks {
		colours := make(map[string]string)
		for _, c := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`).FindAllStringSubmatch(block[1], -1) {
			colours[c[1]] = c[2]
		}
		for ground, fronts := range map[string]map[string]float64{
			"ground": {
				"text": textContrast, "dim": textContrast, "link": textContrast, "band-text": textContrast, "bad": textContrast, "good": textContrast,
				"hold": graphicContrast, "shared": graphicContrast, "wait": graphicContrast, "section": graphicContrast, "band": graphicContrast,
			},
			"panel":       {"text": textContrast, "dim": textContrast, "bad": textContrast},
			"hold":        {"on-hold": textContrast},
			"shared":      {"on-shared": textContrast},
			"other":       {"on-other": textContrast},
			"bad-ground":  {"bad": textContrast},
			"good-ground": {"good": textContrast},
			"skip-ground": {"dim": textContrast},
			"band-ground": {"band-text": textContrast, "text": textContrast, "hold": graphicContrast, "wait": graphicContrast},
		} {
			for front, least := range fronts {
				assert.GreaterOrEqual(t, contrast(t, colours[front], colours[ground]), least, "%s on %s", front, ground)
			}
		}
	}
}

// contrast returns the ratio of the relative luminances of two colours.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	x, y := luminance(t, a), luminance(t, b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(colour[2*i:2*i+2], 16, 8)
		require.NoError(t, err)
		c := float64(n) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}
