package main

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

// patient is for a machine that does much else.
func patient() []string { return []string{"-ttl", "10s", "-slack", "60s"} }

func TestOneCommandRunsUntilItsHolderIsKilled(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, patient()...)
	require.Regexp(t, `n\d exits with status 1: its command was not done\n`, out)
	const next, works = `n\d is active [\d.]+ m?s later, with token \d+`, `n\d's command is at work, with token \d+`
	programtest.RequireInOrder(t, out, `TTL 10s, embedded etcd`,
		`1/3  Three copies`, works,
		`2/3  The holder is told to end`, `n\d is told to end \(SIGTERM\)`, next, works,
		`3/3  The holder is killed`, `n\d is killed \(SIGKILL\)`, next, works, `n\d's command is still at work`, `refuses\s+its\s+writes`,
		`No two holders overlapped before their deadlines, and tokens only rose\.\n$`)
}

func TestInterruptLeavesNothingBehindWhileACommandHasLostItsHolder(t *testing.T) {
	t.Parallel()
	programtest.RequireInterruptible(t, "(SIGKILL)", patient()...)
}

func TestCommandsEndWhenTheShowIsKilled(t *testing.T) {
	t.Parallel()
	programtest.RequireOrphansEnd(t, "(SIGKILL)", patient()...)
}

func TestTheProgramFailsIfItIsToldToEndBeforeItsCommandIsDone(t *testing.T) {
	t.Parallel()
	programtest.RequireNotDone(t, "reports", "locked: not done: ", "reports", "true")
}

func TestTheProgramFailsIfItIsToldToEndWhileItsCommandRuns(t *testing.T) {
	t.Parallel()
	r := programtest.Start(t, nil, "-endpoints", etcdtest.New(t).Endpoints()[0], "reports", "sh", "-c", "echo runs; exec sleep 1000")
	r.AwaitLine(t, "runs")
	require.NoError(t, r.Cmd.Process.Signal(syscall.SIGTERM))
	_, code := r.Finish(t)
	require.Equal(t, 1, code)
	require.Contains(t, r.Stderr.String(), "\nlocked: not done: signal: terminated\n")
}

func TestACopyOfTheProgramNeedsNothingElse(t *testing.T) {
	t.Parallel()
	programtest.RequireCopy(t, "lockedMain")
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: locked ", map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"fractional TTL": {"-ttl", "1500ms"},
	})
}
