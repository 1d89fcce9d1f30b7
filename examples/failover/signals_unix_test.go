//go:build unix

package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestInterruptLeavesNothingBehindWhileTheLeaderIsStopped(t *testing.T) {
	t.Parallel()
	out := programtest.RequireInterruptible(t, "is stopped (SIGSTOP)", "-pause")
	assert.Regexp(t, `\d terms?, `, out, "the summary, as far as it goes")
}

func TestCandidatesEndWhenTheirParentIsKilled(t *testing.T) {
	t.Parallel()
	programtest.RequireOrphansEnd(t, "is stopped (SIGSTOP)", "-pause")
}
