//go:build unix

package main_test

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestACommandRunsWhileItsValueLeads(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	out := p.good("elect", "boss", "it's me", "--", "sh", "-c", `conclave observe boss --once; echo "${CONCLAVE_KEY%/*}"; exit 0`)
	require.Equal(t, "it's me\nboss/~election\n", out)
	require.Equal(t, outcome{code: 75, stdout: "\n"}, p.run("observe", "boss", "--once"), "nobody leads any more")
	require.Equal(t, 5, p.run("elect", "boss", "x", "--", "sh", "-c", "exit 5").code)
}

func TestACandidateWaitsForTheLeader(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	first := p.start("elect", "boss", "first", "-o", "json")
	first.says(`"key":"boss/~election/`)
	o := p.run("elect", "boss", "second", "--wait", "50ms", "--", "echo", "never")
	require.Equal(t, 75, o.code)
	require.Contains(t, o.stderr, `"boss": not elected within --wait 50ms`)
	second := p.start("elect", "boss", "second", "--", "echo", "at last")
	require.NoError(t, first.Process.Signal(syscall.SIGTERM))
	require.Zero(t, first.ends())
	second.says("at last")
	require.Zero(t, second.ends())
}

func TestObserversSeeEveryLeader(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	text := p.start("observe", "boss", "--exec", `echo "now $CONCLAVE_LEADER of ${CONCLAVE_OWNER:-nobody}"`)
	text.says("now  of nobody")
	objects := p.start("observe", "boss", "-o", "json")
	objects.says(`{"leader":false}`)
	p.good("elect", "boss", "ann", "--owner", "me", "--", "true")
	text.says("ann\nnow ann of me\n\nnow  of nobody\n")
	objects.says(`{"leader":true,"value":"ann","owner":"me","token":"`)
	require.NoError(t, text.Process.Signal(syscall.SIGINT))
	require.Equal(t, 130, text.ends())
	require.Empty(t, text.stderr.String())
	var last map[string]any
	lines := strings.Split(strings.TrimSpace(objects.stdout.String()), "\n")
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &last))
}

func TestAnObserverEndsWithTheCodeOfItsCommand(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	o := p.run("observe", "boss", "--exec", "exit 9")
	require.Equal(t, 9, o.code)
	require.Contains(t, o.stderr, `--exec "exit 9": exit status 9`)
	require.Equal(t, 137, p.run("observe", "boss", "--exec", "kill -9 $$").code)
}

func TestAnElectionIsSharedWithEtcdctl(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.start("elect", "boss", "ann", "--etcd-layout").says(" boss/")
	require.Equal(t, "ann\n", p.good("observe", "boss", "--once", "--etcd-layout"))
}

func TestWhatIsWrongWithAnElectionIsSaid(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	for says, args := range map[string][]string{
		"1 arguments before \"--\": must be NAME and VALUE":         {"elect", "boss", "--", "true"},
		"--wait -1s: must not be negative":                          {"elect", "boss", "x", "--wait", "-1s"},
		"unknown flag: --on-request":                                {"elect", "boss", "x", "--on-request", "TERM", "--", "true"},
		"observe: 0 arguments: must be NAME":                        {"observe"},
		`"xml" for "-o, --output" flag: must be one of table, json`: {"observe", "boss", "-o", "xml"},
		`unknown command "vote"`:                                    {"vote"},
	} {
		o := p.run(args...)
		require.Equal(t, 64, o.code, o.stderr)
		require.Contains(t, o.stderr, says)
	}
}

func TestALineForWhoLeadsMayTakeLongerThanEtcd(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	o := p.run("observe", p.name, "--once", "--command-timeout", "5s", "--exec", "sleep 6; echo whole >&2")
	require.Equal(t, 75, o.code, "nobody leads: %s", o.stderr)
	require.Contains(t, o.stderr, "whole")
}
