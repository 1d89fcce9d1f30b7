//go:build unix

package main

import (
	"testing"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestInterruptEndsEverything(t *testing.T) {
	t.Parallel()
	programtest.RequireInterruptible(t, ", seed", "-only", "kill,mutex")
}

func TestProcessesEndWithTheProgram(t *testing.T) {
	t.Parallel()
	programtest.RequireOrphansEnd(t, ", seed", "-only", "kill,mutex")
}
