package watches_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/process"
)

func TestMain(m *testing.M) {
	process.Main(perf.Roles())
	goleak.VerifyTestMain(m)
}
