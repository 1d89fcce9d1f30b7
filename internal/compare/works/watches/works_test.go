package watches_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/compare/works/watches"
	"github.com/conclave-go/conclave/internal/compare/works/worktest"
)

func TestEachSideOfEachWorkMeasuresWhatIsDeclared(t *testing.T) {
	worktest.Test{Works: watches.Works(), MayBeZero: []string{"above a map"}}.Run(t)
}
