package redistest_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
)

const childVariable = "REDISTEST_CHILD"

// TestChild is run by others, in a process of its own.
func TestChild(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		return
	}
	redistest.New(t, 1)
}

func runChild(t *testing.T, env ...string) (output string, err error) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
	cmd.Env = append(os.Environ(), append([]string{childVariable + "=1", "PATH="}, env...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestWithoutTheBinaryATestIsSkippedByName(t *testing.T) {
	t.Parallel()
	out, err := runChild(t, redistest.RequireVariable+"=")
	require.NoError(t, err, out)
	require.Contains(t, out, "SKIPPED TestChild")
}

func TestWithoutTheBinaryARequiredTestFails(t *testing.T) {
	t.Parallel()
	out, err := runChild(t, redistest.RequireVariable+"=1")
	require.Error(t, err, out)
	require.Contains(t, out, "--- FAIL: TestChild")
}
