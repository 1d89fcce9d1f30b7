package main

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/examples/internal/theatre"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

// testTTL is one that a busy machine can keep: a server that has lost its registration
// and another that is killed may be all there are.
const testTTL = "3s"

// Of the parts that every etcd can show.
var commonParts = []string{
	`1/\d  Three servers`, `s1 registers: 127\.0\.0\.1:\d+, zone a`, `s2 registers`, `s3 registers`,
	`\d+ calls, \d+ by s1, \d+ by s2, \d+ by s3`,
	`2/\d  s2 is drained`, `s2 is taken out of the registry`, `it answered \d+ calls`, `\d+ calls, \d+ by s1, \d+ by s3`,
	`3/\d  s3 is killed`, `s3 disappears, [\d.]+ m?s after the kill`, `s4 registers`, `\d+ calls, \d+ by s1, \d+ by s4`,
}

func TestOnlyAKilledServerFailsCalls(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, "-ttl", testTTL)
	programtest.RequireInOrder(t, out, `embedded etcd`)
	programtest.RequireInOrder(t, out, commonParts...)
	programtest.RequireInOrder(t, out,
		`4/4  etcd is stopped`, `s[14] has lost its lease`, `s[14] has lost its lease`, `\d+ calls meanwhile, 0 failed`,
		`started again`, `s1 is registered under a new lease`, `s4 is registered under a new lease`, `\d+ by s1, \d+ by s4`,
		`calls +failed\n`,
		`three servers +\d+ +0\n`, `s2 drained +\d+ +0\n`, `s3 killed +\d+ +[0-4]\n`, `etcd stopped +\d+ +0\n`,
	)
}

func TestNamedClusterIsNotStoppedAndLeftClean(t *testing.T) {
	t.Parallel()
	out := programtest.PlayNamed(t, "-ttl", testTTL, "-prefix", "test/")
	programtest.RequireInOrder(t, out, commonParts...)
	assert.NotContains(t, out, "etcd is stopped")
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
	s := &show{Script: theatre.Script{Acts: programtest.Unseen(t)}, tally: make(map[string]int)}
	fail := func(context.Context) { s.count("calls", "failed", "the cause") }
	s.act(t.Context(), "one", "", 1, fail)
	require.Empty(t, s.broken)
	s.act(t.Context(), "another", "", 0, fail)
	require.ErrorContains(t, errors.Join(s.broken...), "another: 1 calls failed, expected are 0 at most")
	require.ErrorContains(t, errors.Join(s.broken...), "the cause")
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: registry ", map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"fractional TTL": {"-ttl", "1500ms"},
		"callers":        {"-callers", "0"},
		"no password":    {"-endpoints", "localhost:1", "-user", "u"},
	})
}

func TestHelpExplainsTheFlags(t *testing.T) {
	t.Parallel()
	out, code := programtest.Start(t, []string{"ETCDCTL_PASSWORD=secret"}, "-h").Finish(t)
	assert.Zero(t, code)
	assert.Contains(t, out, "-callers")
	assert.NotContains(t, out, "secret")
}
