package screen_test

import (
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/stretchr/testify/assert"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

func TestPercentilesAreNearestRank(t *testing.T) {
	t.Parallel()
	sorted := []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	assert.Equal(t, time.Duration(5), screen.Percentile(sorted, 50))
	assert.Equal(t, time.Duration(9), screen.Percentile(sorted, 90))
	assert.Equal(t, time.Duration(10), screen.Percentile(sorted, 99))
	assert.Zero(t, screen.Percentile(nil, 50))
}

func TestSpreadSortsWhatItIsGiven(t *testing.T) {
	t.Parallel()
	took := []time.Duration{30 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond}
	assert.Equal(t, "3 calls   p50 20.0 ms   p90 30.0 ms   p99 30.0 ms   max 30.0 ms", screen.Spread("calls", took))
	assert.Equal(t, 30*time.Millisecond, took[0], "the argument is left alone")
}

func TestBarsGrowWithTheTime(t *testing.T) {
	t.Parallel()
	took := []time.Duration{0, time.Millisecond / 2, 4 * time.Millisecond, 32 * time.Millisecond, 33 * time.Millisecond, time.Hour}
	bars := screen.Bars(took, 80, screen.Styles{})
	assert.Equal(t, "▁▁▄▇██", bars[:len("▁▁▄▇██")])
	assert.Equal(t, 80, lipgloss.Width(bars))
	assert.Equal(t, "█", screen.Bars(took, 25, screen.Styles{})[:len("█")], "the latest")
}
