package conclavetest

import (
	"testing"

	"go.uber.org/goleak"
)

// Main runs a package's tests, fails if they leave goroutines behind, and exits. It is
// called from TestMain:
//
//	func TestMain(m *testing.M) { conclavetest.Main(m) }
//
// What this package starts for a test has ended with it, so that sessions, clients and
// watches that nobody has closed are found. Packages with a TestMain of their own can
// use go.uber.org/goleak without further options.
func Main(m *testing.M) { goleak.VerifyTestMain(m) }
