package redlock_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/proctest"
	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/internal/suite"
)

// roles are what this test binary can be in other processes.
var roles = proctest.Roles{}

func TestMain(m *testing.M) {
	proctest.Play(roles)
	redistest.Quiet()
	goleak.VerifyTestMain(suite.Of(m, "IsANode", "ThatHangs", "HasFailedOver"))
}
