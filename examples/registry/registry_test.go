package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/examples/internal/theatre"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

// testTTL is one that a busy machine can keep: a server that has lost its registration
// and another that is killed may be all there are.
const testTTL = "8s"

func TestOnlyAKilledServerFailsCalls(t *testing.T) {
	t.Parallel()
	programtest.RequireInOrder(t, programtest.Play(t, nil, "-ttl", testTTL), `TTL 8s, embedded etcd`,
		`1/4  Three servers`, `s1 registers: 127\.0\.0\.1:\d+, zone a`, `s2 registers`, `s3 registers`,
		`\d+ calls, \d+ by s1, \d+ by s2, \d+ by s3`,
		`2/4  s2 is drained`, `s2 is told to end \(SIGTERM\)`, `meanwhile it answered \d+`, `\d+ calls, \d+ by s1, \d+ by s3`,
		`3/4  s3 is killed`, `s3 disappears, [\d.]+ m?s after the kill`, `s4 registers`, `\d+ calls, \d+ by s1, \d+ by s4`,
		`4/4  etcd is stopped`, `s[14] has lost its lease`, `s[14] has lost its lease`, `\d+ calls meanwhile, 0 failed`,
		`started again`, `s1 is registered under a new lease`, `s4 is registered under a new lease`, `\d+ by s1, \d+ by s4`,
		`calls +failed\n`,
		`three servers +\d+ +0\n`, `s2 drained +\d+ +0\n`, `s3 killed +\d+ +[0-4]\n`, `etcd stopped +\d+ +0\n`)
}

func TestInterruptLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	out := programtest.RequireInterruptible(t, "s3 is killed (SIGKILL)")
	assert.Contains(t, out, "s2 drained", "the table, as far as it goes")
}

func TestServersEndWhenTheirParentIsKilled(t *testing.T) {
	t.Parallel()
	programtest.RequireOrphansEnd(t, "s3 registers")
}

func TestMoreFailedCallsThanExpectedAreAFailure(t *testing.T) {
	t.Parallel()
	s := &show{Stage: &theatre.Stage{Script: theatre.Script{Acts: programtest.Unseen(t)}}, tally: make(map[string]int)}
	s.count("calls", "failed", "the cause")
	require.NoError(t, s.judge("one", s.since(nil), 1))
	err := s.judge("another", s.since(nil), 0)
	require.ErrorContains(t, err, "another: 1 calls failed, expected are 0 at most")
	require.ErrorContains(t, err, "the cause")
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: registry ", map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"fractional TTL": {"-ttl", "1500ms"},
		"callers":        {"-callers", "0"},
	})
}

func TestHelpExplainsTheFlags(t *testing.T) {
	t.Parallel()
	out, code := programtest.Start(t, nil, "-h").Finish(t)
	assert.Zero(t, code)
	assert.Contains(t, out, "-callers")
}
