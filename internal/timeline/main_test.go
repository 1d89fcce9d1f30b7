package timeline_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/suite"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(suite.Of(m, "ManyCharts", "Thousands", "TheSameBytes", "ManyOverlaps"))
}
