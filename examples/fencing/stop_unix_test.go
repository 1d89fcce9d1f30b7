//go:build unix && ((!race && !nosqlite) || sqlite)

package main

import (
	"testing"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

// A lease of 10 s, so that nothing else happens meanwhile.

func TestInterruptLeavesNothingBehindWhileAWorkerIsStopped(t *testing.T) {
	t.Parallel()
	programtest.RequireInterruptible(t, "is stopped (SIGSTOP)", "-ttl", "10s")
}

func TestWorkersEndWhenTheirParentIsKilled(t *testing.T) {
	t.Parallel()
	programtest.RequireOrphansEnd(t, "is stopped (SIGSTOP)", "-ttl", "10s")
}
