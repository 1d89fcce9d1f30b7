//go:build unix

package main

import (
	"testing"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

// A lease of 10 s, so that nothing else happens meanwhile.

func TestInterruptLeavesNothingBehindWhileAWriterHasDied(t *testing.T) {
	t.Parallel()
	programtest.RequireInterruptible(t, "which has read, is killed", "-ttl", "10s")
}

func TestWritersEndWhenTheirParentIsKilled(t *testing.T) {
	t.Parallel()
	programtest.RequireOrphansEnd(t, "which has read, is killed", "-ttl", "10s")
}
