//go:build unix

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestInterruptLeavesNothingBehindWhileACopyIsPaused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "p.html")
	out := programtest.RequireInterruptible(t, "is paused (SIGSTOP)", patient("-acts", "conclave,pause", "-duration", "100ms", "-html", path)...)
	assert.Regexp(t, `\nconclave +\d+ +[\d.]+ ms`, out, "the table, as far as it goes")
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Regexp(t, `w\d: stopped, from [\d.]+ m?s to the end`, string(page), "and the page")
}

func TestCopiesEndWhenTheirParentIsKilled(t *testing.T) {
	t.Parallel()
	programtest.RequireOrphansEnd(t, "is paused (SIGSTOP)", patient("-acts", "pause")...)
}

func TestAReaderThatLeavesEndsTheProgram(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, read.Close())
	r := programtest.Prepare(t, nil, patient("-acts", "conclave", "-duration", "1m")...)
	r.Cmd.Stdout = write
	require.NoError(t, r.Cmd.Start())
	require.NoError(t, write.Close())
	require.Error(t, r.Cmd.Wait())
	assert.Equal(t, 1, r.Cmd.ProcessState.ExitCode())
	r.RequireNothingLeft(t)
}
