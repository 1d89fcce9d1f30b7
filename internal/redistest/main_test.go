package redistest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/internal/suite"
)

func TestMain(m *testing.M) {
	redistest.Quiet()
	goleak.VerifyTestMain(suite.Of(m))
}
