package locks_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/locks"
	"github.com/conclave-go/conclave/internal/compare/works/worktest"
)

// tooMany marks works whose many clients say nothing more about the code.
func tooMany(name string) bool { return strings.HasSuffix(name, "00") }

func TestEachSideOfEachWorkMeasuresWhatIsDeclared(t *testing.T) {
	works := slices.DeleteFunc(locks.Works(), func(w perf.Work) bool { return tooMany(w.Name) })
	worktest.Test{Works: works, Check: func(t *testing.T, measured map[string]perf.Samples) {
		t.Helper()
		require.GreaterOrEqual(t, len(measured), 3)
	}}.Run(t)
}
