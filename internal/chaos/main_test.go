package chaos_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/chaos"
	"github.com/conclave-go/conclave/internal/suite"
)

func TestMain(m *testing.M) {
	chaos.Main(nil)
	goleak.VerifyTestMain(suite.Of(m))
}
