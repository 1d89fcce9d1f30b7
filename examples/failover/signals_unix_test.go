//go:build unix

package main

import (
	"testing"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestInterruptLeavesNothingBehindWhileTheLeaderIsPaused(t *testing.T) {
	t.Parallel()
	programtest.RequireInterruptible(t, "is paused (SIGSTOP)", patient("-acts", "pause")...)
}

func TestCandidatesEndWhenTheirParentIsKilled(t *testing.T) {
	t.Parallel()
	programtest.RequireOrphansEnd(t, "is paused (SIGSTOP)", patient("-acts", "pause")...)
}
