package main

import (
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/lease"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

// patient is for a machine that does much else.
func patient() []string { return []string{"-ttl", "3s", "-slack", "60s"} }

func TestOneReplicaServesWhateverHappensToIt(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, patient()...)
	const next, answers = `r\d is active [\d.]+ m?s later, with token \d+`, `r\d is ready, and answers: token \d+`
	programtest.RequireInOrder(t, out, `TTL 3s, embedded etcd`,
		`1/4  Two replicas start`, answers,
		`2/4  A rollout`, `r\d is told to end \(SIGTERM\)`, next, answers,
		`3/4  The active one is killed`, `r\d is killed \(SIGKILL\)`, next, answers,
		`4/4  The active one is paused`, `r\d is paused \(SIGSTOP\)`, next, `r\d goes on, and stops`, answers,
		`No two holders overlapped before their deadlines, and tokens only rose\.\n$`)
}

func TestInterruptLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	programtest.RequireInterruptible(t, "(SIGKILL)", patient()...)
}

func TestTheGracePeriodOfThePodFits(t *testing.T) {
	t.Parallel()
	manifest, err := os.ReadFile("deployment.yaml")
	require.NoError(t, err)
	seconds := func(pattern string) time.Duration {
		found := regexp.MustCompile(pattern).FindSubmatch(manifest)
		require.NotNil(t, found, pattern)
		n, err := strconv.Atoi(string(found[1]))
		require.NoError(t, err)
		return time.Duration(n) * time.Second
	}
	require.Greater(t, seconds(`terminationGracePeriodSeconds: (\d+)`), seconds(`sleep: {seconds: (\d+)}`)+drainTimeout+2*lease.DefaultGrace)
}

func TestACopyOfTheProgramNeedsNothingElse(t *testing.T) {
	t.Parallel()
	programtest.RequireCopy(t, "singletonMain")
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: singleton ", map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"fractional TTL": {"-ttl", "1500ms"},
	})
}
