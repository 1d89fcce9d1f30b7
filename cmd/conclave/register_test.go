//go:build linux

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// value returns the value of key "services/a", and whether there is one.
func (p *program) value(client *clientv3.Client) (string, bool) {
	p.t.Helper()
	resp, err := client.Get(p.t.Context(), "services/a")
	require.NoError(p.t, err)
	if len(resp.Kvs) == 0 {
		return "", false
	}
	return string(resp.Kvs[0].Value), true
}

// awaits waits until that key has a value, or is not there if that is "".
func (p *program) awaits(client *clientv3.Client, value string) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		now, there := p.value(client)
		return now == value && there == (value != "")
	}, hang, poll)
}

func TestAKeyLivesAsLongAsItsCommand(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	client := p.client()
	k := p.start("register", "services/a", "10.0.0.7:80", "--", "sh", "-c", `echo "runs with $CONCLAVE_KEY"; read line; exit 4`)
	k.says("runs with services/a")
	value, _ := p.value(client)
	require.Equal(t, "10.0.0.7:80", value)
	_, err := client.Delete(t.Context(), "services/a")
	require.NoError(t, err)
	p.awaits(client, "10.0.0.7:80") // it is put again
	require.NoError(t, k.in.Close())
	require.Equal(t, 4, k.ends())
	_, there := p.value(client)
	require.False(t, there)
	require.Empty(t, k.stderr.String())
}

func TestAKeyIsThereOnlyWhileItsCommandIsReady(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	client := p.client()
	file := filepath.Join(p.dir, "ready")
	k := p.start("register", "services/a", "v", "--ready-cmd", "test -e ready", "--ready-interval", "20ms", "--", "sh", "-c", `echo runs; read line`)
	k.says("runs")
	_, there := p.value(client)
	require.False(t, there)
	for range 2 {
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		p.awaits(client, "v")
		require.NoError(t, os.Remove(file))
		p.awaits(client, "")
	}
	require.NoError(t, k.in.Close())
	k.ends()
}

func TestAReadyCommandThatHangsHasFailed(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	client := p.client()
	k := p.start("register", "services/a", "v", "--ready-cmd", "test -e again && exec sleep 60; touch again",
		"--ready-interval", "20ms", "--ready-timeout", "3s")
	k.says("services/a")
	p.awaits(client, "")
	require.NoError(t, k.Process.Signal(syscall.SIGTERM))
	require.Zero(t, k.ends())
}

func TestNothingIsLeftOfAReadyCommandThatHangs(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	k := p.start("register", "services/a", "v", "--ready-cmd", `sh -c 'echo $$ >>pids; exec sleep 60' && true`,
		"--ready-interval", "20ms", "--ready-timeout", "300ms", "--", "sh", "-c", "echo runs; while [ ! -e pids ] || [ $(wc -l <pids) -lt 3 ]; do sleep 0.02; done")
	k.says("runs")
	require.Zero(t, k.ends())
	require.Eventually(t, func() bool { return left(t, p.dir) == "left: 0\n" }, hang, poll)
}

func TestNoZombieIsLeftOfAReadyCommandThatHangs(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	k := p.start("register", "services/a", "v", "--ready-cmd", `touch pids; [ $(wc -l <pids) -ge 3 ] && exit 1; sh -c 'echo $$ >>pids; exec sleep 60' && true`,
		"--ready-interval", "20ms", "--ready-timeout", "300ms", "--", "sh", "-c", "echo runs; read line; exit 0")
	k.says("runs")
	require.Eventually(t, func() bool { return p.lines("pids") == 3 && left(t, p.dir) == "left: 0\n" }, hang, poll)
	require.Eventually(t, func() bool {
		out, _ := exec.Command("ps", "--ppid", strconv.Itoa(k.Process.Pid), "-o", "stat=").Output()
		return !strings.Contains(string(out), "Z")
	}, hang, 20*poll)
	require.NoError(t, k.in.Close())
	require.Zero(t, k.ends(), k.stderr)
}

func TestACommandGoesOnWhenItsKeyCannotBeRemoved(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, net := newProgram(t).via(c.Endpoints()...), c.Net(t)
	client := p.client()
	file := filepath.Join(p.dir, "ready")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	k := p.via(net.Endpoints()...).start("register", "services/a", "v", "--ttl", "300",
		"--ready-cmd", "echo >>checks; test -e ready", "--ready-interval", "20ms", "--", "sh", "-c", "read line; echo bye; exit 4")
	p.awaits(client, "v")
	checks := p.size("checks")
	require.Eventually(t, func() bool { return p.size("checks") > checks+1 }, hang, poll, "it knows that the key is there")
	net.Cut()
	require.NoError(t, os.Remove(file))
	k.stderr.await(t, `registration "services/a": tried again: `, k.done)
	net.Heal()
	p.awaits(client, "")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	p.awaits(client, "v")
	require.NoError(t, k.in.Close())
	require.Equal(t, 4, k.ends(), k.stderr)
	k.says("bye")
}

// size is that of a file.
func (p *program) size(file string) int64 {
	p.t.Helper()
	info, err := os.Stat(filepath.Join(p.dir, file))
	require.NoError(p.t, err)
	return info.Size()
}

func TestACommandGoesOnWhenItsKeyIsNotPermitted(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.EnableAuth(t.Context()))
	require.NoError(t, c.AddUser(t.Context(), "ann", "secret", "mine/"))
	p := newProgram(t).via(c.Endpoints()...)
	k := p.start("register", "services/a", "v", "--user", "ann:secret", "--ready-cmd", "true", "--ready-interval", "20ms",
		"--", "sh", "-c", "read line; echo bye; exit 4")
	k.stderr.await(t, "permission denied", k.done)
	require.NoError(t, k.in.Close())
	require.Equal(t, 4, k.ends(), k.stderr)
	k.says("bye")
	require.Equal(t, 1, strings.Count(k.stderr.String(), "\n"), "it is said once: %s", k.stderr)
}

func TestAKeyOfSomebodyElseIsRefusedOrTakenOver(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	first := p.start("register", "services/a", "one", "--", "sh", "-c", "echo runs; exec sleep 60")
	first.says("runs")
	o := p.run("register", "services/a", "two", "--", "echo", "never")
	require.Equal(t, 75, o.code)
	require.Contains(t, o.stderr, `registration "services/a": exists, with value "one"`)
	require.Empty(t, o.stdout)
	second := p.start("register", "services/a", "two", "--takeover")
	second.says("services/a")
	require.Equal(t, 76, first.ends(), "whoever had it")
	require.Contains(t, first.stderr.String(), "was taken over")
	require.NoError(t, second.in.Close())
	require.Zero(t, second.ends())
}

func TestAKeyThatWasTakenOverIsNotTakenBackByOneThatIsReadyAgain(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	client := p.client()
	file := filepath.Join(p.dir, "ready")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	// It is not ready by the time it could look at its key by itself.
	first := p.start("register", "services/a", "one", "--takeover", "--ttl", "300", "--ready-cmd", "test -e ready",
		"--ready-interval", "20ms", "--", "sleep", "60")
	p.awaits(client, "one")
	require.NoError(t, os.Remove(file))
	p.awaits(client, "")
	second := p.start("register", "services/a", "two", "--takeover")
	second.says("services/a")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.Equal(t, 76, first.ends(), first.stderr)
	require.Contains(t, first.stderr.String(), "was taken over")
	p.awaits(client, "two")
	require.NoError(t, second.in.Close())
	require.Zero(t, second.ends())
}

func TestARegistrationIsGoneWithAProgramThatIsKilled(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	client := p.client()
	k := p.start("register", "services/a", "v", "--ttl", "1", "--", "sh", "-c", "echo $$ >>pids; echo runs; exec sleep 60")
	k.says("runs")
	send(t, k.Process.Pid, syscall.SIGKILL)
	p.awaits(client, "")
	require.Eventually(t, func() bool { return left(t, p.dir) == "left: 0\n" }, hang, poll, "and so is its command")
}

func TestWhatALineLeavesBehindIsBuried(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	k := p.start("register", "key", "value", "--ready-interval", "10ms", "--ready-cmd", "echo >>lines; sleep 0.01 & true", "--", "sleep", "300")
	const lines = 30
	require.Eventually(t, func() bool {
		text, _ := os.ReadFile(filepath.Join(p.dir, "lines"))
		return len(text) >= lines
	}, hang, poll)
	require.Eventually(t, func() bool { return zombies(t, k.Process.Pid) < lines/3 }, hang, poll)
	send(t, k.Process.Pid, syscall.SIGTERM)
	require.Equal(t, 143, k.ends())
}

// zombies counts the children of a process that have ended and are not waited for.
func zombies(t *testing.T, of int) (n int) {
	t.Helper()
	out, err := exec.Command("ps", "-o", "stat=", "--ppid", strconv.Itoa(of)).Output()
	require.NoError(t, err)
	for stat := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(stat, "Z") {
			n++
		}
	}
	return n
}
