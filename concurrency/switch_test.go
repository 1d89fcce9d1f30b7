package concurrency_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/suite"
)

// A program written against the other library is built as it is and with its one import
// changed, and both run side by side, as during a rolling update.
func TestAProgramIsSwitchedByOneLine(t *testing.T) {
	suite.Nightly(t) // to build two programs costs as much as all other tests
	t.Parallel()
	c := etcdtest.New(t)
	before := build(t)
	after := build(t, "-overlay", overlay(t))
	prefix, client := c.Prefix(t)+"ledger", c.Client(t)
	const entries = 10
	var wg sync.WaitGroup
	for name, program := range map[string]string{"old-1": before, "old-2": before, "new-1": after, "new-2": after} {
		wg.Go(func() {
			out, err := exec.CommandContext(guarded(t), program, c.Endpoints()[0], prefix, name, "10").CombinedOutput()
			if err != nil || string(out) != "led by "+name+"\n" {
				t.Errorf("%s: %v: %s", name, err, out)
			}
		})
	}
	wg.Wait()
	booked := strings.Fields(string(get(t, client, prefix+"/entries").Value))
	require.Len(t, booked, 4*entries, "no entry was overwritten")
	require.Equal(t, "40", string(get(t, client, prefix+"/balance").Value))
}

// build builds the program and returns its path.
func build(t *testing.T, flags ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "ledger")
	args := append([]string{"build", "-ldflags=-s -w", "-o", program}, flags...)
	out, err := exec.CommandContext(guarded(t), "go", append(args, "./testdata/ledger")...).CombinedOutput()
	require.NoError(t, err, string(out))
	return program
}

// overlay makes the compiler read a copy of the program that has one line changed.
func overlay(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("testdata/ledger/main.go")
	require.NoError(t, err)
	source, err := os.ReadFile(path)
	require.NoError(t, err)
	switched := strings.ReplaceAll(string(source), theirsPath, oursPath)
	require.Equal(t, 1, strings.Count(switched, oursPath), "one line")
	copied := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(copied, []byte(switched), 0o600))
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: copied}})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "overlay.json")
	require.NoError(t, os.WriteFile(file, replace, 0o600))
	return file
}
