package capacity_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/capacity"
)

func TestFitFindsTheLineThatCostsAreOn(t *testing.T) {
	t.Parallel()
	m, err := capacity.Fit([]float64{0, 100, 1000, 10_000}, []float64{5, 205, 2005, 20_005})
	require.NoError(t, err)
	require.InDelta(t, 5, m.Fixed, 1e-6)
	require.InDelta(t, 2, m.Each, 1e-9)
	require.InDelta(t, 1, m.R2, 1e-12)
	require.InDelta(t, 85, m.At(40), 1e-6)
}

func TestFitFindsTheLineInNoise(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var numbers, costs []float64
	for n := 1.0; n <= 1000; n++ {
		numbers, costs = append(numbers, n), append(costs, 50+3*n+100*random.NormFloat64())
	}
	m, err := capacity.Fit(numbers, costs)
	require.NoError(t, err)
	require.InDelta(t, 3, m.Each, .1)
	require.Greater(t, m.R2, .97)
	require.Less(t, m.R2, 1.0)
}

func TestACurveAndNoiseAreNoLine(t *testing.T) {
	t.Parallel()
	m, err := capacity.Fit([]float64{0, 1, 2, 3, 4}, []float64{0, 1, 0, 1, 0})
	require.NoError(t, err)
	require.Less(t, m.R2, .1)
}

func TestAConstantCostIsALineWithoutASlope(t *testing.T) {
	t.Parallel()
	m, err := capacity.Fit([]float64{0, 10, 100}, []float64{7, 7, 7})
	require.NoError(t, err)
	require.InDelta(t, 0, m.Each, 1e-12)
	require.InDelta(t, 7, m.Fixed, 1e-9)
	require.InDelta(t, 1, m.R2, 0)
	require.False(t, math.IsNaN(m.R2))
}

func TestFitRefusesWhatHasNoLine(t *testing.T) {
	t.Parallel()
	for name, in := range map[string][2][]float64{
		"nothing":          {},
		"one number":       {{3}, {1}},
		"one number twice": {{3, 3}, {1, 2}},
		"a cost is absent": {{3, 4}, {1}},
	} {
		_, err := capacity.Fit(in[0], in[1])
		require.ErrorContains(t, err, "capacity: ", name)
	}
}
