package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

// args are for four members. On a busy machine leases shorter than these would be lost.
func args() []string { return []string{"-members", "4", "-labels", "tenant", "-ttl", "4s"} }

// show is what a run with four members shows, in this order.
func show() []string {
	const settled, quickest, gap = `later \d+ of 67 shards have another owner`, `the quickest: shard \d+, let go by `, `\s+with\s+token\s+\d+,\s+[\d.]+ m?s\s+later`
	return []string{
		`1/4  4 members share the shards\.`, `m1 \d+, m2 \d+, m3 \d+, m4 \d+\n`, `all series of tenant t0 are in\s+shard \d+`,
		`2/4  Another joins`, `m5 joins`, settled, quickest + `m[1-4] with token \d+,\s+granted\s+to\s+m5` + gap,
		`3/4  One leaves`, `m1 leaves`, settled, `m2 \d+, m3 \d+, m4 \d+, m5 \d+\n`, quickest + `m1 with token \d+,\s+granted\s+to\s+m[2-5]` + gap,
		`4/4  One is cut off`, `m2 is cut off`, settled, `m3 \d+, m4 \d+, m5 \d+\n`, quickest + `m2 with token \d+,\s+granted\s+to\s+m[3-5]` + gap,
		`m2 can reach etcd again`, settled, `granted\s+to\s+m2` + gap,
		`10000 series by tenant +bounded loads`, `joins +\d`, `leaves +\d`,
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
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"fractional TTL": {"-ttl", "1500ms"},
		"one member":     {"-members", "1"},
		"many members":   {"-members", "13"},
		"little load":    {"-load", "1"},
		"no load":        {"-load", "NaN"},
		"unknown label":  {"-labels", "tenant,colour"},
		"no password":    {"-endpoints", "localhost:1", "-user", "u"},
	})
}

func TestHelpExplainsTheFlags(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, []string{"ETCDCTL_PASSWORD=secret"}, "-h")
	assert.Contains(t, out, "-labels")
	assert.NotContains(t, out, "secret")
}
