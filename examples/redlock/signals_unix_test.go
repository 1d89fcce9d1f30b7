//go:build unix

package main

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestInterruptLeavesNothingBehindWhileAWorkerIsStopped(t *testing.T) {
	t.Parallel()
	r := programtest.Start(t, nil, "-run", "-duration", "10ms", "-pause")
	r.AwaitLine(t, "is stopped (SIGSTOP)")
	require.NoError(t, r.Cmd.Process.Signal(os.Interrupt))
	out, code := r.Finish(t)
	assert.Equal(t, 130, code)
	assert.Regexp(t, `\nhand-over .* held\n`, out, "the table, as far as it goes")
}

func TestWorkersAndServersEndWhenTheirParentIsKilled(t *testing.T) {
	t.Parallel()
	r := programtest.Start(t, nil, "-pause")
	r.AwaitLine(t, "is stopped (SIGSTOP)")
	require.NoError(t, r.Cmd.Process.Kill())
	require.Error(t, r.Cmd.Wait())
	assert.Eventually(t, func() bool { return len(r.Processes()) == 0 }, programtest.Hang/2, 50*time.Millisecond)
}
