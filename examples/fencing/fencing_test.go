//go:build (!race && !nosqlite) || sqlite

package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/internal/process"
)

// The parts of the show, in order.
var (
	guardedPart = []string{
		`Guarded by "AND token <= \?"`,
		`w1 holds the lock, token \d+, and sees 10 bolts`,
		`w1 is (stopped|cut off from etcd)`,
		`w2 holds the lock, token \d+, and sees 10 bolts`,
		`w2 sells 4, so it writes 6: accepted`,
		`w1 sells 3, so it writes 7: refused: lock:\s+token\s+\d+\s+is\s+stale`,
		`w1 is told by its Hold: lock: lost`,
		`w1 holds the lock, token \d+, and sees 6 bolts`,
		`w1 sells 3, so it writes 3: accepted`,
	}
	unguardedPart = []string{
		`Unguarded, without that`,
		`w2 sells 4, so it writes 6: accepted`,
		`w1 sells 3, so it writes 7: accepted`,
		`w1 is told by its Hold: lock: lost`,
	}
	unguardedRow = `\nunguarded +accepted, token \d+ +lost +7 +3\n`
)

func TestOnlyTheConditionOnTheTokenStopsTheLateWrite(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"-soft=false", "-soft"} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			if flag == "-soft=false" && !process.CanPause {
				t.Skip("no SIGSTOP here")
			}
			out := programtest.Play(t, nil, "-ttl", "3s", flag)
			programtest.RequireInOrder(t, out, append(append([]string{`embedded etcd`}, guardedPart...), unguardedPart...)...)
			programtest.RequireInOrder(t, out, `\nguarded +refused: token \d+ < \d+ +lost +3 +3`+unguardedRow)
		})
	}
}

func TestThePartWithoutTheConditionCanBeSeenAlone(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, "-ttl", "3s", "-unguarded")
	assert.NotContains(t, out, "Guarded")
	programtest.RequireInOrder(t, out, append(unguardedPart, unguardedRow)...)
}

func TestTheProgramFailsIfItIsToldToEndBeforeItHasSold(t *testing.T) {
	t.Parallel()
	programtest.RequireNotDone(t, "fencing/stock", "fencing: no sale was confirmed: ", "-db", filepath.Join(t.TempDir(), "stock.db"))
}

// A lease of 10 s, so that nothing else happens meanwhile.

func TestInterruptLeavesNothingBehindWhileAWorkerIsStopped(t *testing.T) {
	t.Parallel()
	programtest.RequireInterruptible(t, "is stopped (SIGSTOP)", "-ttl", "10s")
}

func TestWorkersEndWhenTheirParentIsKilled(t *testing.T) {
	t.Parallel()
	programtest.RequireOrphansEnd(t, "is stopped (SIGSTOP)", "-ttl", "10s")
}
