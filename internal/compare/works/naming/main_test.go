package naming_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/compare/works/naming"
	"github.com/conclave-go/conclave/internal/compare/works/worktest"
)

func TestMain(m *testing.M) { worktest.Main(m) }

func TestEachSideOfEachWorkMeasuresWhatIsDeclared(t *testing.T) {
	worktest.Test{Works: naming.Works()}.Run(t)
}
