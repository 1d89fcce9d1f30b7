//go:build chaos

package chaos_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/chaos"
)

func TestMain(m *testing.M) {
	chaos.Main(chaosPeers())
	goleak.VerifyTestMain(m)
}
