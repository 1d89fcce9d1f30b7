package leases_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/leases"
	"github.com/conclave-go/conclave/internal/compare/works/worktest"
)

func TestEachSideOfEachWorkMeasuresWhatIsDeclared(t *testing.T) {
	works := slices.DeleteFunc(leases.Works(), func(w perf.Work) bool { return strings.HasSuffix(w.Name, "/10000") })
	worktest.Test{Works: works, Check: func(t *testing.T, measured map[string]perf.Samples) {
		t.Helper()
		for side, samples := range measured {
			for metric, all := range samples {
				require.Len(t, all, 1, "%s of %s", metric, side)
			}
		}
	}}.Run(t)
}
