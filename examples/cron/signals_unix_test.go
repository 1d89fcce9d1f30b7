//go:build unix

package main

import (
	"testing"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestInterruptLeavesNothingBehindWhileAWorkerIsStopped(t *testing.T) {
	t.Parallel()
	programtest.RequireInterruptible(t, "is stopped (SIGSTOP)", "-ttl", "1s")
}

func TestWorkersEndWhenTheirParentIsKilled(t *testing.T) {
	t.Parallel()
	programtest.RequireOrphansEnd(t, "is stopped (SIGSTOP)", "-ttl", "1s")
}
