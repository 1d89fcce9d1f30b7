//go:build unix

package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lock"
)

func TestACommandRunsUnderTheLock(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	out := p.good("lock", "reports/nightly", "--", "sh", "-c",
		`conclave lock --try reports/nightly -- true 2>/dev/null; echo "$? $CONCLAVE_NAME $CONCLAVE_KEY $CONCLAVE_TOKEN $CONCLAVE_TTL"`)
	fields := strings.Fields(out)
	require.Equal(t, "75", fields[0], "nobody else has it meanwhile")
	require.Equal(t, "reports/nightly", fields[1])
	require.True(t, strings.HasPrefix(fields[2], "reports/nightly/~mutex/"), fields[2])
	_, err := lock.ParseToken(fields[3])
	require.NoError(t, err)
	require.Equal(t, "10", fields[4])
	p.good("lock", "--try", "reports/nightly", "--", "true")
}

func TestTheExitCodeIsTheCommands(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	require.Equal(t, outcome{code: 3}, p.run("lock", "a", "--", "sh", "-c", "exit 3"))
	require.Equal(t, outcome{code: 137}, p.run("lock", "a", "--", "sh", "-c", "kill -9 $$"))
	require.Equal(t, outcome{stdout: "data"}, p.feed("data", "lock", "a", "--", "cat"))
}

func TestArgumentsNeedNotBeText(t *testing.T) {
	t.Parallel()
	const bytes = "\xff\xe9 caf\xe9"
	p := newProgram(t)
	require.Equal(t, bytes, p.good("lock", "a", "--", "printf", "%s", bytes))
	script := filepath.Join(p.dir, "caf\xe9")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\necho runs\n"), 0o700)) //nolint:gosec // it is a program
	require.Equal(t, "runs\n", p.good("lock", "a", "--", script))
}

func TestWhatCannotBeDoneIsSaidWithACodeOfItsOwn(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	plain := filepath.Join(p.dir, "plain")
	require.NoError(t, os.WriteFile(plain, []byte("text"), 0o600))
	broken := filepath.Join(p.dir, "broken")
	require.NoError(t, os.WriteFile(broken, []byte("#!/no/such/interpreter\n"), 0o700)) //nolint:gosec // it is a program
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{64, "no name", []string{"lock"}},
		{64, "unknown flag: --nonsense", []string{"lock", "a", "--nonsense", "--", "true"}},
		{64, `"a//~b"`, []string{"lock", "a//~b", "--", "true"}},
		{64, "--ttl 1.5s: must be whole seconds, 1s to 5m0s", []string{"lock", "a", "--ttl", "1.5s", "--", "true"}},
		{64, "--kill-before 6s: must be from 100ms to half of the TTL, 5s", []string{"lock", "a", "--kill-before", "6s", "--", "true"}},
		{64, `--permits "3/2": must be N/M`, []string{"lock", "a", "--permits", "3/2", "--", "true"}},
		{64, "at most one of them", []string{"lock", "a", "--read", "--permits", "1/2", "--", "true"}},
		{64, "at most one of them", []string{"lock", "a", "--try", "--wait", "1s", "--", "true"}},
		{64, "must have one name, not 2", []string{"lock", "a", "b", "--read", "--", "true"}},
		{64, "without a command", []string{"lock", "a", "--print-env", "--", "true"}},
		{64, "must be given together", []string{"lock", "a", "--cert", "x", "--", "true"}},
		{64, `variable ETCDCTL_DIAL_TIMEOUT="soon"`, []string{"lock", "a", "--", "true"}},
		{127, `command "no-such-command": not found`, []string{"lock", "a", "--", "no-such-command"}},
		{126, "permission denied", []string{"lock", "a", "--", plain}},
		{126, `starting "` + broken + `": no such file`, []string{"lock", "a", "--", broken}},
	} {
		q := p
		if strings.Contains(c.says, "ETCDCTL") {
			q = p.with("ETCDCTL_DIAL_TIMEOUT=soon")
		}
		o := q.run(c.args...)
		require.Equal(t, c.code, o.code, "%v: %s", c.args, o.stderr)
		require.Contains(t, o.stderr, c.says)
		require.Equal(t, 1, strings.Count(o.stderr, "\n"), "one line: %s", o.stderr)
	}
}

func TestALockThatIsTakenIsWaitedForAsLongAsWanted(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	holder := p.start("lock", "a", "--owner", "the night shift")
	holder.says("a/~mutex/")
	o := p.run("lock", "--try", "a", "--", "echo", "never")
	require.Equal(t, 75, o.code)
	require.Contains(t, o.stderr, "the night shift")
	require.Empty(t, o.stdout)
	o = p.run("lock", "--wait", "50ms", "a", "--", "echo", "never")
	require.Equal(t, 75, o.code)
	require.Contains(t, o.stderr, "not obtained within --wait 50ms")

	next := p.start("lock", "--wait", "1m", "a", "--", "echo", "at last")
	awaitWaiters(t, p, 1)
	require.NoError(t, holder.in.Close())
	next.says("at last")
	require.Zero(t, next.ends())
	require.Zero(t, holder.ends())
	require.Empty(t, holder.stderr.String())
}

func TestAWaiterThatIsToldToEndLeavesNothing(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.start("lock", "a").says("a/~mutex/")
	waiter := p.start("lock", "a", "--", "echo", "never")
	awaitWaiters(t, p, 1)
	require.NoError(t, waiter.Process.Signal(syscall.SIGTERM))
	require.Equal(t, 143, waiter.ends())
	require.Empty(t, waiter.stderr.String())
	awaitWaiters(t, p, 0)
}

func TestAnySignalLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM} {
		p := newProgram(t)
		holder := p.start("lock", "a", "--ttl", "300")
		holder.says("a/~mutex/")
		waiter := p.start("lock", "a", "--ttl", "300", "--", "echo", "never")
		awaitWaiters(t, p, 1)
		require.NoError(t, waiter.Process.Signal(s))
		require.Equal(t, 128+int(s), waiter.ends())
		require.Empty(t, waiter.stderr.String())
		awaitWaiters(t, p, 0)
		require.NoError(t, holder.Process.Signal(s))
		require.Zero(t, holder.ends())
		p.good("lock", "--try", "a", "--", "true")
	}
}

func TestAWaiterWhoseScriptIsGoneEnds(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.start("lock", "a").says("a/~mutex/")
	waiter := p.start("lock", "a")
	awaitWaiters(t, p, 1)
	require.NoError(t, waiter.in.Close())
	require.Equal(t, 141, waiter.ends(), "its input is closed")
	awaitWaiters(t, p, 0)

	read, write, err := os.Pipe()
	require.NoError(t, err)
	cmd := p.command("lock", "a")
	cmd.Stdout = write
	require.NoError(t, cmd.Start())
	require.NoError(t, write.Close())
	awaitWaiters(t, p, 1)
	require.NoError(t, read.Close())
	require.Equal(t, 141, exitCode(t, cmd.Wait()), "its output is not read")
	awaitWaiters(t, p, 0)
}

func TestALineForARequestEndsWithTheCommand(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	k := p.start("lock", "a", "--on-request", `sh -c 'echo $$ >>pids; exec sleep 60'; true`, "--", "sh", "-c",
		"echo ready; while [ ! -s pids ]; do sleep 0.02; done")
	k.says("ready")
	p.good("release", "a")
	require.Zero(t, k.ends())
	require.Eventually(t, func() bool { return left(t, p.dir) == "left: 0\n" }, hang, poll)
	require.Empty(t, k.stderr.String())
	p.good("lock", "--try", "a", "--", "true")
}

func TestKindsOfLocks(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	for range 2 {
		p.start("lock", "s", "--permits", "1/3").says("s/~semaphore/")
		p.start("lock", "r", "--read").says("r/~rwmutex/r/")
	}
	require.Equal(t, 75, p.run("lock", "s", "--try", "--permits", "2/3", "--", "true").code)
	p.good("lock", "s", "--try", "--permits", "1/3", "--", "true")
	require.Equal(t, 75, p.run("lock", "r", "--try", "--write", "--", "true").code)
	p.good("lock", "r", "--try", "--read", "--", "true")

	p.start("lock", "b", "c").says("~mutex/")
	require.Equal(t, 75, p.run("lock", "--try", "a", "b", "--", "true").code)
	require.Equal(t, 75, p.run("lock", "--try", "c", "--", "true").code)
	p.good("lock", "--try", "a", "d", "--", "sh", "-c", `test "$CONCLAVE_NAME" = "a d"`)
}

func TestLocksOfDifferentKindsUnderOneNameAreRefused(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	reader := p.start("lock", "a", "--read")
	reader.says("a/~rwmutex/r/")
	for _, args := range [][]string{{"lock", "a"}, {"lock", "a", "--permits", "1/2"}, {"lock", "a", "b"}} {
		o := p.run(append(args, "--", "echo", "never")...)
		require.Equal(t, 75, o.code, o.stderr)
		require.Contains(t, o.stderr, "all users of a name must use the same flags")
		require.Empty(t, o.stdout)
	}
	o := p.run("lock", "s", "--permits", "1/2", "--", "conclave", "lock", "s", "--permits", "1/3", "--", "true")
	require.Equal(t, 75, o.code, "another number of permits")
}

func TestALockIsSharedWithEtcdctl(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.start("lock", "a", "--etcd-layout").says(" a/")
	o := p.run("lock", "--try", "--etcd-layout", "a", "--", "true")
	require.Equal(t, 75, o.code)
}

func TestEtcdThatIsDownIsNamed(t *testing.T) {
	t.Parallel()
	p := newProgram(t).via("127.0.0.1:1")
	o := p.run("lock", "a", "--command-timeout", "300ms", "--", "echo", "never")
	require.Equal(t, 69, o.code)
	require.Contains(t, o.stderr, "127.0.0.1:1")
	require.Contains(t, o.stderr, "connection refused")
	require.Empty(t, o.stdout)
	o = p.run("lock", "a", "--user", "u:p", "--dial-timeout", "300ms", "--", "echo", "never")
	require.Equal(t, 69, o.code)
	require.Contains(t, o.stderr, "127.0.0.1:1")
	require.Contains(t, o.stderr, "connection refused")
}

func TestCredentialsAreThoseOfEtcdctl(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.EnableAuth(t.Context()))
	require.NoError(t, c.AddUser(t.Context(), "ann", "secret", "mine/"))
	p := newProgram(t).via(c.Endpoints()...)
	o := p.run("lock", "mine/a", "--user", "ann:wrong", "--", "echo", "never")
	require.Equal(t, 77, o.code, o.stderr)
	require.Contains(t, o.stderr, c.Endpoints()[0])
	o = p.run("lock", "mine/a", "--user", "ann", "--", "true")
	require.Equal(t, 64, o.code, o.stderr)
	require.Contains(t, o.stderr, "ETCDCTL_PASSWORD")
	o = p.run("lock", "other/a", "--user", "ann:secret", "--", "echo", "never")
	require.Equal(t, 77, o.code, o.stderr)
	require.Contains(t, o.stderr, "permission denied")
	p.good("lock", "mine/a", "--user", "ann:secret", "--", "true")
	p.with("ETCDCTL_USER=ann:secret").good("lock", "mine/a", "--", "true")
	p.with("ETCDCTL_USER=ann", "ETCDCTL_PASSWORD=secret").good("lock", "mine/a", "--", "true")
}

func TestACoprocessHoldsUntilItsInputIsClosed(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	out := p.script(`
		coproc LOCK { exec conclave lock "it's" --print-env; }
		IFS= read -r env <&"${LOCK[0]}" && eval "$env"
		echo "$CONCLAVE_NAME" "${CONCLAVE_KEY%/*}" "$CONCLAVE_TOKEN"
		conclave lock --try "it's" -- true 2>/dev/null; echo $?
		pid=$LOCK_PID; eval "exec ${LOCK[1]}>&-"; wait "$pid"; echo $?
		conclave lock --try "it's" -- true; echo $?`)
	require.Regexp(t, `^it's it's/~mutex \d+\n75\n0\n0\n$`, out)
}

func TestAProcessSubstitutionHoldsUntilItIsNotReadAnyMore(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	out := p.script(`
		exec 9< <(exec conclave lock a)
		read -r token key <&9; echo "${key%/*}"
		conclave lock --try a -- true 2>/dev/null; echo $?
		exec 9<&-
		conclave lock --wait 1m a -- echo next`)
	require.Equal(t, "a/~mutex\n75\nnext\n", out)
}

func TestADescriptorIsPrintedToInPlaceOfTheOutput(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	out := p.script(`
		exec 8< <(exec conclave lock a -o json --fd 7 7>&1 >/dev/null)
		read -r line <&8; echo "$line"
		exec 8<&-
		conclave lock --wait 1m a -- echo next`)
	require.Regexp(t, `^{"event":"held","names":\["a"\],"key":"a/~mutex/[0-9a-f]+","token":"\d+","deadline":"[^"]+","ttl":10}\nnext\n$`, out)
	require.Equal(t, 64, p.run("lock", "a", "--fd", "77").code)
}

func TestADescriptorThatTheCallerHasNotOpenedIsRefused(t *testing.T) {
	t.Parallel()
	out := newProgram(t).script(`
		for fd in 3 4 5 6 7 8 9 10 11 12; do
			eval "exec $fd>&-"
			conclave lock a --fd "$fd" 2>/dev/null
			echo -n "$? "
		done`)
	require.Equal(t, strings.Repeat("64 ", 10), out)
}

func TestAHolderWithoutACommandEndsWellWhenItIsTold(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	holder := p.start("lock", "a")
	holder.says("a/~mutex/")
	require.NoError(t, holder.Process.Signal(syscall.SIGTERM))
	require.Zero(t, holder.ends())
	p.good("lock", "--try", "a", "--", "true")
}

// script runs a script with bash, and requires that nothing is said on stderr.
func (p *program) script(text string) string {
	p.t.Helper()
	cmd := p.command()
	cmd.Path, cmd.Args = "/bin/bash", []string{"bash", "-c", text}
	k := launch(p.t, cmd)
	require.Zero(p.t, k.ends(), k.stderr.String())
	require.Empty(p.t, k.stderr.String())
	return k.stdout.String()
}

// awaitWaiters waits until so many wait for lock "a".
func awaitWaiters(t *testing.T, p *program, n int) {
	t.Helper()
	client := p.client()
	require.Eventually(t, func() bool {
		entries, err := lock.Inspect(t.Context(), client, "a")
		waiting := 0
		for _, e := range entries {
			if !e.Held() {
				waiting++
			}
		}
		return err == nil && waiting == n
	}, hang, poll)
}
