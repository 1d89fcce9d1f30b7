package capacity_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/capacity"
)

func stair(throughputs ...float64) []capacity.Step {
	var all []capacity.Step
	load := 1
	for _, t := range throughputs {
		all = append(all, capacity.Step{Load: load, Throughput: t})
		load *= 2
	}
	return all
}

func TestTheKneeIsWhereNoMoreLoadBringsATenthMore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		steps []capacity.Step
		knee  int
		found bool
	}{
		"flat after the third":     {stair(100, 200, 400, 420, 410), 2, true},
		"falls after the second":   {stair(100, 200, 120, 80), 1, true},
		"a dip is no knee":         {stair(100, 60, 200, 400, 430), 3, true},
		"a tenth more is worth it": {stair(100, 110, 111), 1, true},
		"rises to the end":         {stair(100, 200, 400), 2, false},
		"one step":                 {stair(100), 0, false},
		"none":                     {nil, 0, false},
	} {
		i, found := capacity.Knee(c.steps)
		require.Equal(t, c.knee, i, name)
		require.Equal(t, c.found, found, name)
	}
}
