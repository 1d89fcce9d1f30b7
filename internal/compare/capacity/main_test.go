package capacity_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/servers"
)

func TestMain(m *testing.M) {
	process.Main(map[string]process.Role{servers.MemberRole: servers.Member})
	goleak.VerifyTestMain(m)
}
