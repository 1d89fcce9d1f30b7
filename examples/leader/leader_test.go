package main

import (
	"testing"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

// patient is for a machine that does much else.
func patient() []string { return []string{"-ttl", "3s", "-slack", "60s"} }

func TestOneLeadsWhateverHappensToTheLeader(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, patient()...)
	const next = `n\d is active [\d.]+ m?s later, with token \d+`
	programtest.RequireInOrder(t, out, `TTL 3s, embedded etcd`,
		`1/4  Three copies`, `n[123] leads, with token \d+`,
		`2/4  The leader is killed`, `n\d is killed \(SIGKILL\)`, next,
		`3/4  The leader is told to end`, `n\d is told to end \(SIGTERM\)`, next,
		`4/4  The leader is paused`, `n\d is paused \(SIGSTOP\)`, next, `n\d goes on, and stops`,
		`no work of a leader comes after`, `No two holders overlapped before their deadlines, and tokens only rose\.\n$`)
}

func TestInterruptLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	programtest.RequireInterruptible(t, "(SIGKILL)", patient()...)
}

func TestACopyOfTheProgramNeedsNothingElse(t *testing.T) {
	t.Parallel()
	programtest.RequireCopy(t, "leaderMain")
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: leader ", map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"fractional TTL": {"-ttl", "1500ms"},
	})
}
