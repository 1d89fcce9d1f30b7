//go:build unix

package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestInterruptLeavesNothingBehindWhileAWorkerIsStopped(t *testing.T) {
	t.Parallel()
	out := programtest.RequireInterruptible(t, "is stopped (SIGSTOP)", "-run", "-duration", "10ms", "-pause")
	assert.Regexp(t, `\nhand-over .* held\n`, out, "the table, as far as it goes")
}

func TestWorkersAndServersEndWhenTheirParentIsKilled(t *testing.T) {
	t.Parallel()
	programtest.RequireOrphansEnd(t, "is stopped (SIGSTOP)", "-pause")
}
