package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/suite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(suite.Of(m)) }

func TestWhatFailsIsCountedAndKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tally := newTally()
	for range 2 {
		failed, err := tally.read(strings.NewReader(`
{"Action":"run","Package":"m/a","Test":"TestGood"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"fine\n"}
{"Action":"pass","Package":"m/a","Test":"TestGood"}
{"Action":"output","Package":"m/a","Test":"TestBad/part","Output":"what went wrong\n"}
{"Action":"fail","Package":"m/a","Test":"TestBad/part"}
{"Action":"fail","Package":"m/a","Test":"TestBad"}
{"Action":"fail","Package":"m/a"}
{"Action":"pass","Package":"m/b","Test":"TestGood"}
{"Action":"output","Package":"m/b","Output":"goleak\n"}
{"Action":"fail","Package":"m/b"}
{"ImportPath":"m/c","Action":"build-output","Output":"syntax error\n"}
{"ImportPath":"m/c","Action":"build-fail"}
`), filepath.Join(dir, "run"))
		require.NoError(t, err)
		require.Equal(t, 5, failed)
	}
	require.Equal(t, 6, tally.failures(), "the part, the leak and the build, twice each")
	require.Equal(t, `
3 tests, run 6 times: 6 failures

| package | test | failed | of runs |
|---|---|---|---|
| a | TestBad/part | 2 | 2 |
| b | (itself) | 2 | 2 |
| c | (itself) | 2 | 2 |
`, tally.table())
	kept, err := os.ReadFile(filepath.Join(dir, "run-001-a-TestBad.part.txt"))
	require.NoError(t, err)
	require.Equal(t, "what went wrong\n", string(kept))
}

func TestATableOfNothingIsALine(t *testing.T) {
	t.Parallel()
	tally := newTally()
	_, err := tally.read(strings.NewReader(`{"Action":"pass","Package":"m/a","Test":"TestGood"}`), "")
	require.NoError(t, err)
	require.Equal(t, "\n1 tests, run 1 times: 0 failures\n", tally.table())
}

func TestTestsWithMembersAreFoundThroughTheFunctionsThatTheyCall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a_test.go"), []byte(`package a_test

func TestDirectly(t *testing.T) { etcdtest.New(t, etcdtest.WithMembers(3)) }
func TestThroughAHelper(t *testing.T) { outer(t) }
func TestAlone(t *testing.T) { etcdtest.New(t) }
func BenchmarkWithMembers(b *testing.B) { outer(b) }
func outer(tb testing.TB) { newTrio(tb) }
`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "b_test.go"), []byte(`package a_test

func newTrio(tb testing.TB) { etcdtest.NewProcesses(tb) }
`), 0o600))
	tests, err := testsWithMembers(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"TestDirectly", "TestThroughAHelper"}, tests)
}

func TestWhatFailsByChanceIsInTheTable(t *testing.T) {
	t.Parallel()
	suite.Nightly(t) // compiles a package, twice
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module m\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "m_test.go"), []byte(`package m

import "testing"

var runs int

func TestBad(t *testing.T) { t.Error("bad") }
func TestGood(t *testing.T) {}
func TestMembersEverySecondTime(t *testing.T) { WithMembers(t) }
func WithMembers(t *testing.T) {
	if runs++; runs%2 == 0 {
		t.Error("by chance")
	}
}
`), 0o600))
	var out strings.Builder
	kept := filepath.Join(dir, "kept")
	err := run(t.Context(), []string{"-runs=2", "-repeats=4", "-loops=1", "-out", kept, "-C", dir}, &out)
	require.ErrorContains(t, err, "4 failures")
	require.Contains(t, out.String(), "3 tests, run 10 times: 4 failures\n")
	require.Contains(t, out.String(), "| m | TestBad | 2 | 2 |\n| m | TestMembersEverySecondTime | 2 | 6 |\n")
	files, err := filepath.Glob(filepath.Join(kept, "members-*-m-TestMembersEverySecondTime.txt"))
	require.NoError(t, err)
	require.Len(t, files, 2)
}
