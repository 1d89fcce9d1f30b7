//go:build unix

package main

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// awaitLine reads what the program prints up to a line that contains text.
func (r *testRun) awaitLine(t *testing.T, text string) {
	t.Helper()
	in, ok := r.stdout.(*bufio.Reader)
	require.True(t, ok)
	for {
		line, err := in.ReadString('\n')
		require.NoErrorf(t, err, "before %q", text)
		if strings.Contains(line, text) {
			return
		}
	}
}

// processesWith returns the processes that have a variable in their environment.
// Without /proc there are none.
func processesWith(variable string) []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		if env, err := os.ReadFile(f); err == nil && strings.Contains(string(env), variable+"\x00") {
			found = append(found, f)
		}
	}
	return found
}

func TestInterruptLeavesNothingBehindWhileAWorkerIsStopped(t *testing.T) {
	t.Parallel()
	r := start(t, nil, "-pause")
	r.awaitLine(t, "is stopped (SIGSTOP)")
	require.NoError(t, r.cmd.Process.Signal(os.Interrupt))
	out, code := r.finish(t)
	assert.Equal(t, 130, code)
	assert.Contains(t, out, "conclave, stopped", "the table, as far as it goes")
}

func TestWorkersEndWhenTheirParentIsKilled(t *testing.T) {
	t.Parallel()
	r := start(t, nil, "-pause")
	r.awaitLine(t, "is stopped (SIGSTOP)")
	require.NoError(t, r.cmd.Process.Kill())
	require.Error(t, r.cmd.Wait())
	assert.Eventually(t, func() bool { return len(processesWith("TMPDIR="+r.tmp)) == 0 }, hang/2, 50*time.Millisecond)
}

func TestAReaderThatLeavesEndsTheProgram(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, read.Close())
	r := prepare(t, nil, "-run")
	r.cmd.Stdout = write
	require.NoError(t, r.cmd.Start())
	require.NoError(t, write.Close())
	require.Error(t, r.cmd.Wait())
	assert.Equal(t, 1, r.cmd.ProcessState.ExitCode())
	r.requireNothingLeft(t)
}
