//go:build unix && ((!race && !nosqlite) || sqlite)

package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startUntilStopped begins a run and returns when a worker is stopped.
func startUntilStopped(t *testing.T) *testRun {
	t.Helper()
	r := start(t, nil, "-ttl", "10s") // nothing else happens meanwhile
	for line := ""; !strings.Contains(line, "is stopped (SIGSTOP)"); {
		var err error
		line, err = r.stdout.ReadString('\n')
		require.NoError(t, err)
	}
	return r
}

func TestInterruptLeavesNothingBehindWhileAWorkerIsStopped(t *testing.T) {
	t.Parallel()
	r := startUntilStopped(t)
	require.NoError(t, r.cmd.Process.Signal(os.Interrupt))
	_, code := r.finish(t)
	assert.Equal(t, 130, code)
}

func TestWorkersEndWhenTheirParentIsKilled(t *testing.T) {
	t.Parallel()
	r := startUntilStopped(t)
	require.NoError(t, r.cmd.Process.Kill())
	require.Error(t, r.cmd.Wait())
	assert.Eventually(t, func() bool { return len(r.processes()) == 0 }, hang/2, 50*time.Millisecond)
}
