package chaos_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/chaos"
	"github.com/conclave-go/conclave/internal/tempdir"
)

func TestMain(m *testing.M) {
	chaos.Main(nil)
	goleak.VerifyTestMain(tempdir.Tests{M: m})
}
