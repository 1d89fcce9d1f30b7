package main

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

func TestRunsTakePlaceOnceWhateverHappensToTheProcesses(t *testing.T) {
	t.Parallel()
	const (
		report  = `report  of [\d:]+(,\s+and\s+for\s+\d+\s+missed\s+before\s+it)?:\s+1`
		resumed = report + `(-[23])?\s+by[^:]+;\s+[34](-4)?\s+by`
		some    = `([2-9]|\d\d+)`
	)
	programtest.RequireInOrder(t, programtest.Play(t, nil, "-ttl", "3s"), `TTL 3s, embedded etcd`,
		`1/4  Two jobs, three processes`, report,
		`2/4  A process is killed`, `(w\d) is half done with the report of`, `is killed \(SIGKILL\)`, resumed,
		`3/4  No process is up`, `all processes have ended`, `report  of [\d:]+,\s+and\s+for\s+`+some+`\s+missed\s+before\s+it: `, report,
		`4/4  A process is stopped`, `is stopped \(SIGSTOP\)`, resumed, `wakes up \(SIGCONT\), and goes on with its page`,
		`page [34] of w\d is refused: lock: lost`,
		`\d+ reports and \d+ mails, `+some+` of them resumed by another: none\s+twice`)
}

func TestInterruptLeavesNothingBehindWhileAWorkerIsStopped(t *testing.T) {
	t.Parallel()
	programtest.RequireInterruptible(t, "is stopped (SIGSTOP)", "-ttl", "3s")
}

func TestWorkersEndWhenTheirParentIsKilled(t *testing.T) {
	t.Parallel()
	programtest.RequireOrphansEnd(t, "is stopped (SIGSTOP)", "-ttl", "3s")
}

func TestWhatShouldNotHappenIsFound(t *testing.T) {
	t.Parallel()
	wrote := func(key, token string) *clientv3.Event {
		return &clientv3.Event{Kv: &mvccpb.KeyValue{
			Key: []byte(key), Value: []byte(`{"Slot": "2026-03-14T12:00:00Z", "Pages": [{"Worker": "w1", "Token": "1"}, {"Worker": "w2", "Token": "` + token + `"}]}`),
		}}
	}
	mail, first, again := wrote("cron/result/mail/12", "2"), wrote("cron/state/report", "3"), wrote("cron/state/report", "2")
	done := wrote("cron/result/report/12", "3")
	summary, err := checkRuns([]*clientv3.Event{mail, first, first, done})
	require.NoError(t, err)
	require.Contains(t, summary, "1 reports and 1 mails, 2 of them resumed")
	_, err = checkRuns([]*clientv3.Event{mail, first, again, done})
	require.ErrorContains(t, err, "token 2 was stored after token 3")
	_, err = checkRuns([]*clientv3.Event{mail, done, done})
	require.ErrorContains(t, err, "came after")
	_, err = checkRuns([]*clientv3.Event{mail})
	require.ErrorContains(t, err, "no runs")
}

func TestACopyOfTheProgramNeedsNothingElse(t *testing.T) {
	t.Parallel()
	programtest.RequireCopy(t, "cronMain", "schedule.go")
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: cron ", map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"fractional TTL": {"-ttl", "1500ms"},
	})
}
