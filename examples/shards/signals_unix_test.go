//go:build unix

package main

import (
	"testing"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

// A lease of 10 s, so that nothing else happens meanwhile.

func TestInterruptLeavesNothingBehindWhileAMemberIsCutOff(t *testing.T) {
	t.Parallel()
	programtest.RequireInterruptible(t, "is cut off from etcd", "-ttl", "10s")
}
