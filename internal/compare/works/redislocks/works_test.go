package redislocks_test

import (
	"slices"
	"testing"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/redislocks"
	"github.com/conclave-go/conclave/internal/compare/works/worktest"
)

func TestEachSideOfEachWorkMeasuresWhatIsDeclared(t *testing.T) {
	// redsync with a node that hangs takes half a minute
	works := slices.DeleteFunc(redislocks.Works(), func(w perf.Work) bool { return w.Quick == 0 })
	worktest.Test{Works: works}.Run(t)
}
