package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/shard"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

func TestShardsMoveWithTheMembersAndNeverHaveTwoOwners(t *testing.T) {
	t.Parallel()
	const settled, gap = `later\s+\d+\s+of\s+64\s+shards\s+have\s+another\s+owner`, `\d+,\s+without\s+an\s+owner\s+for\s+[\d.]+\s+m?s;`
	went := func(from, to string) string {
		return `the median: shard \d+ went from ` + from + `,\s+token\s+\d+,\s+to\s+` + to + `,\s+token\s+` + gap
	}
	// On a busy machine leases shorter than these would be lost.
	out := programtest.Play(t, nil, "-members", "4", "-ttl", "4s")
	programtest.RequireInOrder(t, out, `TTL 4s, embedded etcd`,
		`1/5  4 members share`, `m1=16, m2=16, m3=16, m4=16\n`, `tenant-42 is in shard 8: at\s+m\d\s+now,\s+whose\s+address\s+is\s+10\.0\.0\.\d`,
		`2/5  Another joins`, `m5 joins`, settled, `m1=13, m2=13, m3=13, m4=13, m5=12\n`, went("m[1-4]", "m5"),
		`3/5  One leaves`, `m1 is told to end \(SIGTERM\)`, settled, `m2=16, m3=16, m4=16, m5=16\n`, went("m1", "m[2-5]"),
		`4/5  One is killed`, `m2 is killed \(SIGKILL\)`, settled, `m3=2\d, m4=2\d, m5=2\d\n`, went("m2", "m[3-5]"),
		`5/5  One is cut off`, `m3 is cut off`, settled, `m4=32, m5=32\n`, went("m3", "m[45]"),
		`m3 can reach etcd again`, settled, went("m[45]", "m3"),
		`\d+ shard grants: never two owners at a time, and tokens only rose\.`, `\d+\s+counts\s+was\s+lost\.\n$`)
}

func TestInterruptLeavesNothingBehindWhileAMemberIsCutOff(t *testing.T) {
	t.Parallel()
	programtest.RequireInterruptible(t, "is cut off from etcd", "-ttl", "10s") // so that nothing else happens meanwhile
}

func TestACopyOfTheProgramNeedsNothingElse(t *testing.T) {
	t.Parallel()
	programtest.RequireCopy(t, "shardsMain")
}

func TestTwoOwnersAtATimeAndTokensThatDoNotRiseAreFound(t *testing.T) {
	t.Parallel()
	began := time.Now()
	owned := func(name string, token lock.Token, from, to int) *tenure {
		at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
		return &tenure{name, token, at(from), at(to)}
	}
	of := func(all ...*tenure) map[shard.ID][]*tenure { return map[shard.ID][]*tenure{7: all} }
	all, err := handOvers(of(owned("m1", 1, 0, 2), owned("m1", 2, 3, 4), owned("m2", 3, 6, 7)), began.Add(time.Second))
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, 2*time.Second, all[0].gap())
	_, err = handOvers(of(owned("m1", 1, 0, 3), owned("m2", 2, 2, 4)), began)
	require.ErrorContains(t, err, "shard 7: m1 had it with token")
	_, err = handOvers(of(owned("m1", 1, 0, 2), owned("m2", 1, 3, 4)), began)
	require.ErrorContains(t, err, "shard 7: m1 had it with token")
	lasting := owned("m1", 1, 0, 0)
	lasting.to = time.Time{}
	_, err = handOvers(of(lasting, owned("m2", 2, 2, 4)), began)
	require.ErrorContains(t, err, "shard 7: m1 had it with token")
}

func TestCountsThatAreLostOrCountedTwiceAreFound(t *testing.T) {
	t.Parallel()
	counted := func(values ...string) (all []*clientv3.Event) {
		for _, v := range values {
			all = append(all, &clientv3.Event{Kv: &mvccpb.KeyValue{Key: []byte("count/7"), Value: []byte(v)}})
		}
		return all
	}
	n, err := checkCounts(counted("1", "2", "3"))
	require.NoError(t, err)
	require.Equal(t, 3, n)
	_, err = checkCounts(counted("1", "2", "2"))
	require.EqualError(t, err, "count/7 is 2 at count 3")
	_, err = checkCounts(counted("1", "3"))
	require.EqualError(t, err, "count/7 is 3 at count 2")
	_, err = checkCounts(nil)
	require.Error(t, err)
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: shards ", map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"fractional TTL": {"-ttl", "1500ms"},
		"two members":    {"-members", "2"},
		"many members":   {"-members", "13"},
		"few shards":     {"-shards", "12"},
		"many shards":    {"-shards", "65537"},
	})
}
