package shards_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/shards"
	"github.com/conclave-go/conclave/internal/compare/works/worktest"
)

func TestEachSideOfTheQuickWorksMeasuresWhatIsDeclared(t *testing.T) {
	var quick []perf.Work
	for _, w := range shards.Works() {
		if w.Quick > 0 {
			quick = append(quick, w)
		}
	}
	worktest.Test{Works: quick, MayBeZero: []string{"unowned", "two owners"}, Check: func(t *testing.T, measured map[string]perf.Samples) {
		t.Helper()
		for _, v := range measured[perf.Ours]["two owners"] {
			require.Zero(t, v)
		}
		for _, v := range measured[perf.Ours]["moves"] {
			require.InDelta(t, 1, v, 1e-9)
		}
	}}.Run(t)
}
