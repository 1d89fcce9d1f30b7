package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

// show is what a run shows, in this order.
func show() []string {
	const finds, have = ` has the lock, token \d+, and finds version `, `all readers that are alive have version `
	return []string{
		`6 readers in 3 clusters`,
		`1/4  Two write at once`, `w1` + finds + `0\n`, have + `1: 6 switched within`, `w2` + finds + `1\n`, `w3 waits for the lock\n`, `w2 writes version 2`, have + `2: `,
		`w3` + finds + `2\n`, `w3 writes version 3: features green 1; limits burst 200, rps 150;\s+routes blue 90, green 10\n`, have + `3: `,
		`2/4  Writers are killed`, `w4, which has read, is killed`, `w5 waits for the lock`, `w5` + finds + `3\n`, `w5, which has validated, is killed`,
		`w6` + finds + `3\n`, `w6 writes version 4: `, `w6, which has written, is killed`,
		`w7` + finds + `4\n`, `w7 writes version 5: features green 1; limits burst 300, rps 162;`, have + `5: `,
		`3/4  Updates that do not fit`, `w8 is refused: invalid update: the routes add up to 140 %`, `w9 is refused: .*10 % are routed to green`,
		`4/4  A reader is slow`, `w10` + finds + `5\n`, `w10 waits for .*(ap/2|us/2)`, have + `6: `, `ap/2 can reach etcd again`, `ap/2 has version 6 now`,
		`6 versions by 10 writers, applied \d+ times: never a mixture\n$`,
	}
}

func TestReadersSwitchTogetherWhateverHappensToWriters(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil)
	programtest.RequireInOrder(t, out, show()...)
	assert.Contains(t, out, "embedded etcd")
}

func TestNamedClusterIsUsedWithItsUserAndLeftClean(t *testing.T) {
	t.Parallel()
	out := programtest.PlayNamed(t)
	programtest.RequireInOrder(t, out, show()...)
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: rollout ", map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"fractional TTL": {"-ttl", "1500ms"},
		"no password":    {"-endpoints", "localhost:1", "-user", "u"},
	})
}

func TestHelpExplainsTheFlags(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, []string{"ETCDCTL_PASSWORD=secret"}, "-h")
	assert.Contains(t, out, "-prefix")
	assert.NotContains(t, out, "secret")
}
