package conclavetest_test

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/conclavetest"
)

const leakVariable = "CONCLAVETEST_LEAK"

// goroutinesAtInit is counted when all that this package imports has been initialized.
var goroutinesAtInit = runtime.NumGoroutine()

func TestMain(m *testing.M) { conclavetest.Main(m) }

// TestLeak leaves a goroutine behind in the process that TestMainFindsLeaks starts.
func TestLeak(t *testing.T) {
	if os.Getenv(leakVariable) == "" {
		t.Skip("not the process that is to leak")
	}
	go func() { select {} }()
}

func TestMainFindsLeaks(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^TestLeak$")
	cmd.Env = append(os.Environ(), leakVariable+"=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "TestLeak", "the leak's stack")
}

func TestImportingStartsNothing(t *testing.T) {
	t.Parallel()
	require.Equal(t, 1, goroutinesAtInit, "the one that initializes")
}
