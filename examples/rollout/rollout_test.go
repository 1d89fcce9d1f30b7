package main

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

func TestReadersSwitchTogetherWhateverHappensToWriters(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, "-ttl", "10s")
	const finds, have = ` has the lock, token \d+, and finds version `, `all live readers have version `
	programtest.RequireInOrder(t, out, `TTL 10s, embedded etcd`,
		`1/4  Two writers at once`, `w1`+finds+`0\n`, have+`1: \d switched within`, `w2`+finds+`1\n`, `w2 writes version 2`,
		`w3`+finds+`2\n`, `w3 writes version 3: features \[green:1\] limits \[burst:200 rps:150\]\s+routes \[blue:90 green:10\]\n`, have+`3: `,
		`2/4  Writers are killed`, `w4`+finds+`3\n`, `w4 is killed`, `w5`+finds+`\d\n`, `w5 is killed`,
		`w6`+finds+`\d\n`, `w6 writes version \d: `, `w6 is killed`,
		`w7`+finds+`\d\n`, `w7 writes version \d: features \[green:1\] limits \[burst:300 rps:162\]`, have,
		`3/4  Updates that do not fit`, `w8 is refused: the routes add up to 140 %`, `w9 is refused: 10 % are routed to green`,
		`4/4  A reader is slow`, `w10`+finds, `w10 waits for .*(ap/2|us/2)`, have, `ap/2 can reach etcd again`, `ap/2 has version \d now`,
		`\d versions by 10 writers, applied \d+ times: never a mixture\n$`)
}

func TestInterruptLeavesNothingBehindWhileAWriterHasDied(t *testing.T) {
	t.Parallel()
	programtest.RequireInterruptible(t, "w4 is killed", "-ttl", "10s")
}

func TestAllEndWhenTheShowIsKilled(t *testing.T) {
	t.Parallel()
	programtest.RequireOrphansEnd(t, "w4 is killed", "-ttl", "10s")
}

func TestWhatIsNotWrittenAsAWholeIsFound(t *testing.T) {
	t.Parallel()
	write := func(revision int64, name, value string) *clientv3.Event {
		return &clientv3.Event{Kv: &mvccpb.KeyValue{Key: []byte(configKey + name), Value: []byte(value), ModRevision: revision}}
	}
	const first, next, stale = `{"Version": 1, "Token": "7"}`, `{"Version": 2, "Token": "8"}`, `{"Version": 2, "Token": "6"}`
	require.ErrorContains(t, checkVersions(nil), "nothing was ever written")
	began := []*clientv3.Event{write(1, "limits", first), write(1, "routes", first)}
	require.NoError(t, checkVersions(append(began, write(2, "limits", next), write(2, "routes", next))))
	require.ErrorContains(t, checkVersions(append(began, write(2, "limits", next), write(3, "routes", next))), "a mixture of versions")
	require.ErrorContains(t, checkVersions(append(began, write(2, "limits", first), write(2, "routes", first))), "version 1 after 1")
	require.ErrorContains(t, checkVersions(append(began, write(2, "limits", stale), write(2, "routes", stale))), "stale")
}

func TestAWriterFailsIfItIsToldToEndBeforeItsChangeIsMade(t *testing.T) {
	t.Parallel()
	programtest.RequireNotDone(t, lockName, "rollout: not rolled out: ", "-set", `{"limits": {"rps": 100}}`)
}

func TestACopyOfTheProgramNeedsNothingElse(t *testing.T) {
	t.Parallel()
	programtest.RequireCopy(t, "rolloutMain", "config.go", "writer.go")
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: rollout ", map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"fractional TTL": {"-ttl", "1500ms"},
	})
}
