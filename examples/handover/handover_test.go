package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

// patient is for a machine that does much else.
func patient(args ...string) []string { return append(args, "-ttl", "3s", "-slack", "60s") }

func TestAllActsArePlayedAndMeasured(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, patient("-duration", "500ms")...)
	programtest.RequireInOrder(t, out, `TTL 3s, embedded etcd`,
		`1/6  Processes hand a lock to each other`, `w\d holds, token \d+, [\d.]+ ms after w\d`, `\d+ hand-overs +p50`, `RPCs per turn: [\d.]+: .*Txn`,
		`2/6  The same with etcd's own`, `\d+ hand-overs +p50`,
		`3/6  The holder is killed`, `w\d holds, token \d+; waiting: w\d, w\d`, `w\d is killed \(SIGKILL\)`, `w\d holds [\d.]+ m?s later, with token \d+`,
		`4/6  The holder is paused`, `w\d is paused \(SIGSTOP\)`, `w\d goes on, and stops`, `w\d's late write was refused: lock: lost`,
		`5/6  The holder is cut off`, `w\d is cut off from etcd`, `w\d's time ended [\d.]+ m?s before w\d's began`,
		`the cut is healed`, `w\d is back in the queue`, `etcd has nothing from w\d after token \d+`,
		`6/6  The same with clientv3/concurrency`, `w\d's time ended [\d.]+ m?s (before|AFTER) w\d's began`,
		`hand-overs +p50 +p90 +p99 +max +RPCs\nconclave +\d+ +[\d.]+ ms.*\nofficial +\d+ +[\d.]+ ms`,
		`crash: w\d holds`, `pause: w\d's late write`, `partition: w\d's time`,
		`No two holders overlapped before their deadlines, and tokens only rose\.\n$`)
}

func TestThePageHasAChartForEachAct(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "p.html")
	out := programtest.Play(t, nil, patient("-acts", "crash,partition", "-copies", "2", "-html", path)...)
	assert.Contains(t, out, "\nThe time line is in "+path+"\n")
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	programtest.RequireInOrder(t, string(page),
		`<h1>A lock handed from process to process</h1>`,
		`<a href="#act-1">`, `<a href="#act-2">`,
		`id="act-1"`, `crash`, `✓</span> HELD`, `No two holders overlapped`, `w\d: killed`,
		`id="act-2"`, `partition`, `✓</span> HELD`, `before w\d&#39;s began`, `No two holders overlapped`,
		`w\d: cut off, [\d.]+ s to [\d.]+ s`, `w\d: told, [\d.]+ s. lock: lost`,
	)
	assert.Regexp(t, `w\d: holds \d+, [\d.]+ s to [\d.]+ s \([^)]+\), deadline [\d.]+ s`, string(page))
	assert.Regexp(t, `<rect class="tail"`, string(page), "of the one that was killed")
}

func TestLostNumbersAndStaleTokensAreFound(t *testing.T) {
	t.Parallel()
	check := func(values ...string) error {
		var all []*clientv3.Event
		for _, v := range values {
			all = append(all, &clientv3.Event{Kv: &mvccpb.KeyValue{Value: []byte(v)}})
		}
		return checkCount(all)
	}
	require.NoError(t, check("1 with token 5", "2 with token 5", "3 with token 7"))
	require.ErrorContains(t, check("1 with token 5", "1 with token 7"), "numbers were lost")
	require.ErrorContains(t, check("1 with token 5", "2 with token 4"), "stale")
	require.Error(t, check("1 with token five"))
}

func TestACopyOfTheProgramNeedsNothingElse(t *testing.T) {
	t.Parallel()
	programtest.RequireCopy(t, "handoverMain")
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: handover ", map[string][]string{
		"unknown flag":   {"-nope"},
		"unknown act":    {"-acts", "crash,nope"},
		"argument":       {"now"},
		"copies":         {"-copies", "1"},
		"fractional TTL": {"-ttl", "1500ms"},
		"no duration":    {"-duration", "0"},
		"no hold":        {"-hold", "0s"},
		"page in a void": {"-html", filepath.Join(t.TempDir(), "no", "p.html")},
	})
}
