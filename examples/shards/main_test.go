package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

// args are for four members. On a busy machine leases shorter than these would be lost.
func args() []string { return []string{"-members", "4", "-ttl", "4s"} }

// show is what a run with four members shows, in this order.
func show() []string {
	const settled, median, gap = `later\s+\d+\s+of\s+64\s+shards\s+have\s+another\s+owner`, `the median: shard \d+, let go by `, `\s+with\s+token\s+\d+,\s+[\d.]+ m?s\s+later`
	return []string{
		`1/4  4 members share the shards\.`, `m1 16, m2 16, m3 16, m4 16\n`, `tenant-42 is in shard 8: at\s+m\d\s+now,\s+whose\s+address\s+is\s+10\.0\.0\.\d`,
		`2/4  Another joins`, `m5 joins`, settled, `m1 13, m2 13, m3 13, m4 13, m5 12\n`, median + `m[1-4] with token \d+,\s+granted\s+to\s+m5` + gap,
		`3/4  One leaves`, `m1 leaves`, settled, `m2 16, m3 16, m4 16, m5 16\n`, median + `m1 with token \d+,\s+granted\s+to\s+m[2-5]` + gap,
		`4/4  One is cut off`, `m2 is cut off`, settled, `m3 \d+, m4 \d+, m5 \d+\n`, median + `m2 with token \d+,\s+granted\s+to\s+m[3-5]` + gap,
		`m2 can reach etcd again`, settled, `granted\s+to\s+m2` + gap,
		`\d+ times a shard was granted: never to two at a time, and tokens only rose\n$`,
	}
}

func TestShardsMoveWithTheMembersAndNeverHaveTwoOwners(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, args()...)
	programtest.RequireInOrder(t, out, append([]string{"embedded etcd"}, show()...)...)
}

func TestNamedClusterIsUsedWithItsUserAndLeftClean(t *testing.T) {
	t.Parallel()
	out := programtest.PlayNamed(t, args()...)
	programtest.RequireInOrder(t, out, show()...)
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: shards ", map[string][]string{
		"unknown flag":        {"-nope"},
		"argument":            {"now"},
		"fractional TTL":      {"-ttl", "1500ms"},
		"one member":          {"-members", "1"},
		"many members":        {"-members", "13"},
		"few shards":          {"-shards", "12"},
		"many shards":         {"-shards", "65537"},
		"a member of no etcd": {"-member", "a"},
		"no password":         {"-endpoints", "localhost:1", "-user", "u"},
	})
}

func TestHelpExplainsTheFlags(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, []string{"ETCDCTL_PASSWORD=secret"}, "-h")
	assert.Contains(t, out, "-shards")
	assert.NotContains(t, out, "secret")
}
