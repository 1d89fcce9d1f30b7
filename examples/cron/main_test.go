package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

// show is what a run shows, in this order.
func show() []string {
	const (
		report  = `report  of [\d:]+(,\s+for\s+\d+\s+missed\s+before\s+it\s+too)?:\s+1`
		resumed = report + `(-2)?\s+by[^:]+;\s+3(-4)?\s+by`
		some    = `([2-9]|\d\d+)`
	)
	return []string{
		`1/\d  Two jobs, three processes`, report,
		`2/\d  A process is killed`, `(w\d) is half done with the report of`, `is killed \(SIGKILL\)`, resumed,
		`3/\d  Nobody is there`, `all processes have ended`, `report  of [\d:]+,\s+for\s+` + some + `\s+missed\s+before\s+it\s+too: `, report,
		`4/4  A process is stopped`, `is stopped \(SIGSTOP\)`, resumed, `wakes up \(SIGCONT\) and goes on with page 3`,
		`its page 3 is refused: lock: lost`,
		`\d+ reports and \d+ mails, ` + some + ` of them resumed by another: none twice`,
	}
}

func TestRunsTakePlaceOnceWhateverHappensToTheProcesses(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil)
	programtest.RequireInOrder(t, out, append([]string{"embedded etcd"}, show()...)...)
}

func TestNamedClusterIsUsedWithItsUserAndLeftClean(t *testing.T) {
	t.Parallel()
	out := programtest.PlayNamed(t)
	programtest.RequireInOrder(t, out, show()...)
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: cron ", map[string][]string{
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
