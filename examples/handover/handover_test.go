package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/process"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

func TestRunShowsHandOversAndTheirCost(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, "-run", "-duration", "500ms", "-v")
	assert.Regexp(t, `w\d holds, token \d+, [\d.]+ ms after w\d; waiting: w\d for w\d`, out)
	assert.Regexp(t, `hand-overs +p50 +p90 +p99 +max\nconclave +\d+ +[\d.]+ ms +[\d.]+ ms +[\d.]+ ms +[\d.]+ ms\n`, out)
	assert.Regexp(t, `RPCs per acquisition, conclave: \d+\.\d\d\n  .*Txn \d`, out)
}

func TestOfficialHasTheSameOutput(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, "-official", "-duration", "500ms", "-v")
	assert.Regexp(t, `w\d holds, token \d+, [\d.]+ ms after w\d; waiting: w\d for w\d`, out)
	assert.Regexp(t, `\nclientv3/concurrency +\d+ +[\d.]+ ms`, out)
	assert.Regexp(t, `RPCs per acquisition, clientv3/concurrency: \d+\.\d\d\n`, out)
}

func TestCrashShowsTheSuccessorTakingOver(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, "-crash", "-ttl", "1s")
	programtest.RequireInOrder(t, out,
		`w1, the holder with token \d+, is killed \(SIGKILL\)`,
		`w[23] is granted token \d+, [\d.]+ m?s after the kill \(TTL 1s\)`,
		`conclave, killed:\n  successor granted`,
	)
}

func TestPauseShowsTheStaleWriteRefused(t *testing.T) {
	t.Parallel()
	if !process.CanPause {
		t.Skip("no SIGSTOP here")
	}
	for _, lib := range []string{"-official=false", "-official"} {
		out := programtest.Play(t, nil, "-pause", "-ttl", "1s", lib)
		programtest.RequireInOrder(t, out, `w1, the holder with token \d+, is stopped`, `w[23] is granted`, `w1 wakes up`, `w1 is told`)
		assert.Contains(t, out, "guarded by the hold it lost, is refused by etcd")
		assert.Contains(t, out, "late guarded write refused by etcd")
	}
}

func TestPartitionTellsTheHolderBeforeItsSuccessor(t *testing.T) {
	t.Parallel()
	programtest.RequireInOrder(t, programtest.Play(t, nil, "-partition"),
		`w1, the holder with token \d+, is cut off from etcd`,
		`w1 is told, [\d.]+ m?s after the cut: lock: lost`,
		`w[23] is granted token \d+, [\d.]+ m?s after the cut`,
		`so it was told [\d.]+ m?s before its successor was granted`,
		`the cut is healed`,
		`is refused by etcd`,
		`w1 is back in the queue and granted token`,
	)
}

func TestOfficialPartitionGivesAVerdict(t *testing.T) {
	t.Parallel()
	assert.Regexp(t, `so it was told [\d.]+ m?s (before its successor|AFTER its successor was granted: two holders)`,
		programtest.Play(t, nil, "-partition", "-official"))
}

func TestTourShowsEverything(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("the other tests show the same, one by one")
	}
	out := programtest.Play(t, nil, "-ttl", "1s", "-duration", "300ms", "-workers", "2")
	programtest.RequireInOrder(t, out, `1/\d  2 processes`, `2/\d  The same`, `3/\d  The holder is killed`, `The holder is cut off`, `The same with`)
	assert.Regexp(t, `\nclientv3/concurrency, cut off +\d+`, out)
}

func TestPageHasAChartForEachAct(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "p.html")
	out := programtest.Play(t, nil, "-crash", "-partition", "-html", path)
	assert.Contains(t, out, "\nThe time line is in "+path+"\n")
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	programtest.RequireInOrder(t, string(page),
		`<h1>A lock handed from process to process</h1>`,
		`<a href="#act-1">`, `<a href="#act-2">`,
		`id="act-1"`, `conclave, killed`, `✓</span> HELD`, `successor granted`, `No two holders overlapped`,
		`w1: killed`,
		`id="act-2"`, `conclave, cut off`, `✓</span> HELD`, `before its successor was granted`, `No two holders overlapped`,
		`w1: cut off, [\d.]+ s to [\d.]+ s`, `w1: told, [\d.]+ s. lock: lost`, `w1: late write refused`,
	)
	assert.Regexp(t, `w1: holds \d+, [\d.]+ s to [\d.]+ s \([^)]+\), deadline [\d.]+ s`, string(page))
	assert.Regexp(t, `<rect class="tail"`, string(page), "of the one that was killed")
}

func TestNamedClusterIsUsedWithItsUserAndLeftClean(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.EnableAuth(t.Context()))
	environment := []string{
		"ETCDCTL_ENDPOINTS=http://" + strings.TrimPrefix(c.Endpoints()[0], "http://"),
		"ETCDCTL_USER=" + etcdtest.RootUser + ":" + etcdtest.RootPassword,
	}
	out := programtest.Play(t, environment, "-partition", "-prefix", "test/")
	assert.Contains(t, out, "etcd at http://")
	assert.Contains(t, out, "before its successor was granted")
	client := c.Client(t, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword))
	resp, err := client.Get(t.Context(), "\x00", clientv3.WithFromKey())
	require.NoError(t, err)
	assert.Empty(t, resp.Kvs)
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: handover ", map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"workers":        {"-workers", "1"},
		"fractional TTL": {"-ttl", "1500ms"},
		"duration":       {"-duration", "-1s"},
		"no password":    {"-endpoints", "localhost:1", "-user", "u"},
		"page in a void": {"-html", filepath.Join(t.TempDir(), "no", "p.html")},
		"page, a folder": {"-html", t.TempDir()},
		"cert, no key":   {"-endpoints", "localhost:1", "-cert", "c.pem"},
	})
}

func TestHelpExplainsTheFlags(t *testing.T) {
	t.Parallel()
	out, code := programtest.Start(t, []string{"ETCDCTL_PASSWORD=secret"}, "-h").Finish(t)
	assert.Zero(t, code)
	assert.Contains(t, out, "-partition")
	assert.Contains(t, out, "-html file")
	assert.NotContains(t, out, "secret")
}
