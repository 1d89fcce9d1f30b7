package suite_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/suite"
)

func TestMain(m *testing.M) {
	if os.Getenv(essentialVariable) != "" {
		goleak.VerifyTestMain(suite.Essentials(m, "^TestInside$"))
		return
	}
	goleak.VerifyTestMain(suite.Of(m, "Unknown", "AndSlow$"))
}

// essentialVariable is set for a process that has essential tests.
const essentialVariable = "CONCLAVE_SUITE_ESSENTIAL"

// insideVariable is set for the process that the tests below start.
const insideVariable = "CONCLAVE_SUITE_INSIDE"

// TestInside shows what a suite is like from inside.
func TestInside(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		t.Skip("not the process that is looked at")
	}
	require.Contains(t, filepath.Base(os.TempDir()), "conclave-tmp-suite")
	t.Logf("parallel %s, long %v", flag.Lookup("test.parallel").Value, suite.Long(false, true))
	t.Log(os.TempDir())
}

func TestInsideAndSlow(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		t.Skip("not the process that is looked at")
	}
}

func TestInsideAndNightly(t *testing.T) { suite.Nightly(t) }

// inside runs the tests that look from inside, in another process.
func inside(t *testing.T, variable string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"-test.run=^TestInside", "-test.v"}, args...)...)
	cmd.Env = append(os.Environ(), insideVariable+"=1", "CONCLAVE_LONG=", variable)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

func TestMoreTestsThanProcessorsRunAtOnce(t *testing.T) {
	t.Parallel()
	out := inside(t, "A=B")
	require.Contains(t, out, "parallel "+strconv.Itoa(6*runtime.GOMAXPROCS(0))+", long false")
	require.Contains(t, out, "PASS: TestInsideAndSlow")
	require.Contains(t, inside(t, "A=B", "-test.parallel=3"), "parallel 3,")
}

func TestShortSuitesLeaveOutWhatIsSlow(t *testing.T) {
	t.Parallel()
	out := inside(t, "A=B", "-test.short")
	require.Contains(t, out, "PASS: TestInside ")
	require.NotContains(t, out, "TestInsideAndSlow")
	require.Contains(t, inside(t, "A=B", "-test.short", "-test.skip=nothing"), "PASS: TestInsideAndSlow")
}

func TestShortSuitesOfEssentialsRunNothingElse(t *testing.T) {
	t.Parallel()
	if os.Getenv(essentialVariable) != "" {
		t.Skip("this is one")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.short", "-test.v")
	cmd.Env = append(os.Environ(), insideVariable+"=1", essentialVariable+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, 1, strings.Count(string(out), "=== RUN"), string(out))
	require.Contains(t, string(out), "PASS: TestInside ")
}

func TestTheEnvironmentMakesTestsLong(t *testing.T) {
	t.Parallel()
	out := inside(t, suite.LongVariable+"=1")
	require.Contains(t, out, "long true")
	require.Contains(t, out, "PASS: TestInsideAndNightly")
	require.Contains(t, inside(t, "A=B"), "SKIP: TestInsideAndNightly")
}

func TestNothingIsLeftInTheTemporaryFolder(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	require.Contains(t, inside(t, "TMPDIR="+tmp), tmp)
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Empty(t, left)
}
