//go:build linux

package main_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/servers"
	"github.com/conclave-go/conclave/lock"
)

// stubborn is a command that heeds no signal but SIGKILL, with a child in its process group and one that
// has left it, as well as an orphan. It notes its processes in the file "pids".
const stubborn = `
	trap "" TERM INT HUP
	echo $$ >>pids
	sh -c 'trap "" TERM; echo $$ >>pids; while :; do sleep 0.02; done' &
	setsid sh -c 'trap "" TERM; echo $$ >>pids; while :; do sleep 0.02; done' &
	sh -c 'setsid sh -c "trap \"\" TERM; echo \$\$ >>pids; while :; do sleep 0.02; done" &'
	while [ "$(wc -l <pids)" -lt 4 ]; do sleep 0.02; done
	echo ready
	while :; do sleep 0.02; done`

// shortTTL leaves SIGKILL 0.9 s on a busy machine.
const shortTTL = "9s"

func TestNothingOfACommandIsLeftWhenTheNextHasTheLock(t *testing.T) {
	t.Parallel()
	for name, strike := range map[string]func(t *testing.T, k *task, net *etcdtest.Net) (healed func()){
		"conclave is stopped": func(t *testing.T, k *task, _ *etcdtest.Net) func() {
			t.Helper()
			send(t, k.Process.Pid, syscall.SIGSTOP)
			return func() { send(t, k.Process.Pid, syscall.SIGCONT) }
		},
		"conclave is killed": func(t *testing.T, k *task, _ *etcdtest.Net) func() {
			t.Helper()
			send(t, k.Process.Pid, syscall.SIGKILL)
			return nil
		},
		"the guard is killed": func(t *testing.T, k *task, _ *etcdtest.Net) func() {
			t.Helper()
			send(t, guardOf(t, k), syscall.SIGKILL)
			return nil
		},
		"the guard is stopped and the network cut": func(t *testing.T, k *task, net *etcdtest.Net) func() {
			t.Helper()
			send(t, guardOf(t, k), syscall.SIGSTOP)
			net.Cut()
			return nil
		},
		"the network is cut":      func(_ *testing.T, _ *task, net *etcdtest.Net) func() { net.Cut(); return nil },
		"requests do not arrive":  func(_ *testing.T, _ *task, net *etcdtest.Net) func() { net.CutToServer(); return nil },
		"answers do not arrive":   func(_ *testing.T, _ *task, net *etcdtest.Net) func() { net.CutToClient(); return nil },
		"connections are refused": func(_ *testing.T, _ *task, net *etcdtest.Net) func() { net.Refuse(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := etcdtest.New(t)
			p, net := newProgram(t).via(c.Endpoints()...), c.Net(t)
			k := p.via(net.Endpoints()...).start("lock", "a", "--ttl", shortTTL, "--", "sh", "-c", stubborn)
			k.says("ready")
			healed := strike(t, k, net)
			require.Equal(t, "left: 0\n", p.good("lock", "a", "--", "sh", "-c", count))
			if healed != nil {
				healed()
			}
			code := k.ends()
			if strings.HasPrefix(name, "conclave is killed") {
				return
			}
			require.Equal(t, 76, code, k.stderr)
			require.Contains(t, k.stderr.String(), `conclave: lock "a": the command was ended: `)
		})
	}
}

func TestACommandWhoseGuardIsStoppedIsKilledWhenItsKeyIsTakenOver(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	k := p.start("register", "a", "old", "--ready-interval", "50ms", "--", "sh", "-c", stubborn)
	k.says("ready")
	send(t, guardOf(t, k), syscall.SIGSTOP)
	p.start("register", "a", "new", "--takeover").says("a")
	require.Equal(t, 76, k.ends(), k.stderr)
	require.Equal(t, "left: 0\n", left(t, p.dir))
}

func TestTheKernelKillsTheCommandWhenConclaveAndTheGuardAreKilledTogether(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	k := p.start("lock", "a", "--ttl", shortTTL, "--", "sh", "-c", "trap '' TERM; echo $$ >pids; echo ready; while :; do sleep 0.02; done")
	k.says("ready")
	guard := guardOf(t, k)
	send(t, k.Process.Pid, syscall.SIGSTOP) // so that it does not see the end of the guard
	send(t, guard, syscall.SIGKILL)
	send(t, k.Process.Pid, syscall.SIGKILL)
	require.Equal(t, "left: 0\n", p.good("lock", "a", "--", "sh", "-c", count))
}

func TestACommandThatHeedsSIGTERMHasTimeToTidyUp(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, net := newProgram(t).via(c.Endpoints()...), c.Net(t)
	k := p.via(net.Endpoints()...).start("lock", "a", "--ttl", "9s", "--kill-before", "4500ms", "--", "sh", "-c",
		`trap 'sleep 0.2; echo tidy; exit 9' TERM; echo ready; while :; do sleep 0.02; done`)
	k.says("ready")
	net.Cut()
	k.says("tidy")
	require.Equal(t, 76, k.ends())
}

func TestAStoppedCommandIsContinuedToHeedSIGTERM(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, net := newProgram(t).via(c.Endpoints()...), c.Net(t)
	k := p.via(net.Endpoints()...).start("lock", "a", "--ttl", "9s", "--kill-before", "4500ms", "--", "sh", "-c",
		`trap 'echo tidy; exit 9' TERM; echo ready; kill -STOP $$; sleep 60`)
	k.says("ready")
	net.Cut()
	k.says("tidy")
	require.Equal(t, 76, k.ends())
}

func TestWhatACommandGetsWhenTheLockIsLostCanBeChosen(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for option, says := range map[string]string{
		"USR1":   "got USR1",
		"SIGINT": "got INT",
		`echo "line for $CONCLAVE_CHILD_PID $CONCLAVE_NAME" >>said; kill -USR1 "$CONCLAVE_CHILD_PID"`: "line for",
	} {
		t.Run(option[:4], func(t *testing.T) {
			t.Parallel()
			p, net := newProgram(t).via(c.Endpoints()...), c.Net(t)
			name := fmt.Sprintf("lost/%d", len(option))
			k := p.via(net.Endpoints()...).start("lock", name, "--ttl", "9s", "--kill-before", "4500ms", "--on-lost", option, "--", "sh", "-c",
				`trap 'echo got USR1 >>said; exit' USR1; trap 'echo got INT >>said; exit' INT; echo ready; while :; do sleep 0.02; done`)
			k.says("ready")
			net.Cut()
			require.Equal(t, 76, k.ends())
			said, err := os.ReadFile(filepath.Join(p.dir, "said"))
			require.NoError(t, err)
			require.Contains(t, string(said), says)
		})
	}
}

func TestACommandEndsWhenAnOperatorTakesTheLockAway(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	k := p.start("lock", "a", "--ttl", "9s", "--kill-before", "4500ms", "--", "sh", "-c", `echo ready; trap 'echo told' TERM; while :; do sleep 0.02; done`)
	k.says("ready")
	p.takeAway()
	k.says("told")
	require.Equal(t, 76, k.ends())
}

func TestACommandHasTimeToTidyUpWhenAnOperatorTakesTheLockAway(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	k := p.start("lock", "a", "--ttl", "15", "--kill-before", "7s", "--", "sh", "-c",
		`trap 'sleep 1; echo tidy; exit 9' TERM; echo ready; while :; do sleep 0.02; done`)
	k.says("ready")
	p.takeAway()
	require.Equal(t, 76, k.ends())
	k.says("tidy")
	require.NotContains(t, k.stderr.String(), "guard process")
}

func TestWhoeverHoldsWithoutACommandIsToldWhenAnOperatorTakesTheLockAway(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	k := p.start("lock", "a", "--ttl", "15", "--on-lost", "echo told >>said")
	k.says("a/~mutex/")
	p.takeAway()
	require.Equal(t, 76, k.ends())
	said, err := os.ReadFile(filepath.Join(p.dir, "said"))
	require.NoError(t, err)
	require.Equal(t, "told\n", string(said), "once")
}

func TestALineForALossThatHangsKeepsNoLock(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, p *program, k *task) (code int){
		"a signal": func(t *testing.T, _ *program, k *task) int {
			t.Helper()
			send(t, k.Process.Pid, syscall.SIGTERM)
			return 0
		},
		"the end of the input": func(t *testing.T, _ *program, k *task) int {
			t.Helper()
			require.NoError(t, k.in.Close())
			return 0
		},
		"a loss": func(_ *testing.T, p *program, k *task) int {
			p.takeAway()
			k.says(`"event":"lost"`)
			return 76
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, k := heldThroughAnOutage(t, "echo $$ >>pids; sleep 300; true")
			code := end(t, p, k)
			require.Equal(t, code, k.ends(), k.stderr)
			require.Equal(t, "left: 0\n", left(t, p.dir))
			p.good("lock", "a", "--try", "--", "true")
		})
	}
}

func TestALineForALossRunsAgainWhenTheOutageWasOver(t *testing.T) {
	t.Parallel()
	p, k := heldThroughAnOutage(t, "echo $$ >>pids")
	p.takeAway()
	require.Equal(t, 76, k.ends())
	require.GreaterOrEqual(t, p.lines("pids"), 2, "it was over, and this is another loss: %s %s", k.stdout, k.stderr)
}

// heldThroughAnOutage returns who holds lock "a", of which a line has said that it is about to be lost, but which was not.
// The line writes to "pids".
func heldThroughAnOutage(t *testing.T, line string) (*program, *task) {
	t.Helper()
	c := etcdtest.New(t)
	p, net := newProgram(t).via(c.Endpoints()...), c.Net(t)
	k := p.via(net.Endpoints()...).start("lock", "a", "-o", "json", "--debug", "--ttl", "12", "--kill-before", "6s", "--on-lost", line)
	k.says(`"event":"held"`)
	net.Cut()
	require.Eventually(t, func() bool { return p.lines("pids") == 1 }, hang, poll)
	k.stderr.await(t, "lease: renewal overdue", k.done) // else nothing would say that it is over
	net.Heal()
	k.stderr.await(t, "lease: healthy again", k.done)
	return p, k
}

// lines is how many lines a file has.
func (p *program) lines(file string) int {
	text, _ := os.ReadFile(filepath.Join(p.dir, file)) // which it has not, if it is not there
	return strings.Count(string(text), "\n")
}

func TestALossThatComesToLightAtTheReleaseIsTold(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	k := p.start("lock", "a", "--ttl", "300", "--", "sh", "-c", "echo ready; read line; exit 0")
	k.says("ready")
	p.takeAway()
	require.NoError(t, k.in.Close())
	require.Equal(t, 76, k.ends())
	require.Contains(t, k.stderr.String(), `conclave: lock "a": was lost before its end: `)
}

func TestACommandThatEndsInTimeKeepsItsCodeThoughTheReleaseIsNotConfirmed(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, args := range map[string][]string{`lock "a"`: {"lock", "a"}, `election "b"`: {"elect", "b", "me"}} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			p, net := newProgram(t).via(c.Endpoints()...), c.Net(t)
			k := p.via(net.Endpoints()...).start(append(args, "--ttl", shortTTL, "--kill-before", "100ms", "--command-timeout", "1m",
				"--", "sh", "-c", "echo ready; read line; exit 7")...)
			k.says("ready")
			net.Cut()
			require.NoError(t, k.in.Close())
			require.Equal(t, 7, k.ends(), k.stderr)
			require.Contains(t, k.stderr.String(), "conclave: "+what+": could not be released, and is free when its lease expires, after "+shortTTL+": ")
		})
	}
}

// takeAway deletes the entry of who holds lock "a", as an operator would.
func (p *program) takeAway() {
	p.t.Helper()
	client := p.client()
	entries, err := lock.Inspect(p.t.Context(), client, "a")
	require.NoError(p.t, err)
	_, err = client.Delete(p.t.Context(), entries[0].Key)
	require.NoError(p.t, err)
}

func TestALeaseThatIsRenewedInTimeEndsNothing(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, net := newProgram(t).via(c.Endpoints()...), c.Net(t)
	k := p.via(net.Endpoints()...).start("lock", "a", "--ttl", "10s", "--kill-before", "100ms", "--", "sh", "-c", "trap 'echo told' TERM; echo ready; read line")
	k.says("ready")
	client := p.client()
	entries, err := lock.Inspect(t.Context(), client, "a")
	require.NoError(t, err)
	lease, err := client.TimeToLive(t.Context(), entries[0].Lease)
	require.NoError(t, err)
	awaitExpiryOf(t, p, lease.GrantedTTL) // beyond the first deadline
	_, err = k.in.Write([]byte("go\n"))
	require.NoError(t, err)
	require.Zero(t, k.ends())
	require.NotContains(t, k.stdout.String(), "told")
}

// awaitExpiryOf waits until a lease of as many seconds has expired, which began now.
func awaitExpiryOf(t *testing.T, p *program, ttl int64) {
	t.Helper()
	client := p.client()
	other, err := client.Grant(t.Context(), ttl)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		left, err := client.TimeToLive(t.Context(), other.ID)
		return err == nil && left.TTL < 0
	}, hang, poll)
}

func TestAnEtcdThatIsKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	e, err := servers.StartEtcd(t.Context(), servers.WithOneMember())
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	p := newProgram(t).via(e.Endpoints()...)
	survivor := p.start("lock", "long", "--ttl", "60s", "--", "sh", "-c", "echo ready; read line; echo bye")
	survivor.says("ready")
	k := p.start("lock", "short", "--ttl", shortTTL, "--", "sh", "-c", stubborn)
	k.says("ready")
	require.NoError(t, e.Kill(0))
	require.Equal(t, 76, k.ends())
	require.Equal(t, "left: 0\n", left(t, p.dir))
	require.NoError(t, e.Restart(t.Context(), 0))
	require.NoError(t, survivor.in.Close())
	require.Zero(t, survivor.ends(), survivor.stderr)
	survivor.says("bye")
	require.Zero(t, p.run("lock", "--wait", "1m", "short", "--", "true").code)
}

func TestWhatACommandLeavesRunningInItsSessionEndsWithIt(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.good("lock", "a", "--", "sh", "-c", `
		sh -c 'echo $$ >>pids; exec sleep 60' >/dev/null 2>&1 &
		setsid sh -c 'echo $$ >daemon; exec sleep 60' >/dev/null 2>&1 &
		while [ ! -s pids ] || [ ! -s daemon ]; do sleep 0.02; done`)
	require.Equal(t, "left: 0\n", left(t, p.dir))
	send(t, p.daemon(), syscall.SIGKILL) // which fails if it is gone: a daemon has left on purpose
}

func TestADaemonStaysWhenConclaveIsKilledAfterTheCommandHasEnded(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	k := p.start("lock", "a", "--ttl", "15", "--", "sh", "-c", `
		setsid sh -c 'echo $$ >daemon; exec sleep 60' >/dev/null 2>&1 &
		sh -c 'trap "echo told" TERM; echo $$ >>pids; while :; do sleep 0.02; done' &
		while [ ! -s pids ] || [ ! -s daemon ]; do sleep 0.02; done`)
	k.says("told")
	send(t, k.Process.Pid, syscall.SIGKILL)
	require.Eventually(t, func() bool { return left(t, p.dir) == "left: 0\n" }, hang, poll)
	send(t, p.daemon(), syscall.SIGKILL)
}

// daemon is the process in the file "daemon".
func (p *program) daemon() int {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "daemon"))
	require.NoError(p.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(p.t, err)
	return pid
}

func TestSignalsArePassedOn(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	for name, s := range map[string]syscall.Signal{
		"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "TERM": syscall.SIGTERM, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
	} {
		if signal.Ignored(s) { // as SIGHUP is under nohup: a shell does not trap it either
			continue
		}
		k := p.start("lock", "signal/"+name, "--", "sh", "-c", `trap "echo got `+name+`; exit 7" `+name+`; echo ready; while :; do sleep 0.02; done`)
		k.says("ready")
		send(t, k.Process.Pid, s)
		require.Equal(t, 7, k.ends())
		k.says("got " + name)
		require.Empty(t, k.stderr.String())
	}
}

func TestFilesOfTheCallerAreTheCommands(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	out := p.script(`
		exec 3>three 4<&0
		for fd in {6..60}; do ((fd % 3 == 0)) || eval "exec $fd</dev/null"; done
		list='ls -x -w 200 /proc/$$/fd; true'
		sh -c "$list"
		conclave lock a -- sh -c "echo to three >&3; $list"
		cat three`)
	lines := strings.Split(out, "\n")
	require.Equal(t, lines[0], lines[1])
	require.Equal(t, "to three", lines[2])
}

func TestAReaderSeesTheEndWhenTheCommandClosesItsOutput(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	fifo := filepath.Join(p.dir, "go-on")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	out := p.script(`{ conclave lock a -- sh -c 'echo all; exec >&-; read line <go-on' & } | { cat; echo end; echo >go-on; }`)
	require.Equal(t, "all\nend\n", out)
}

func send(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, s))
}

// guardOf returns the process that guards the command of a task.
func guardOf(t *testing.T, k *task) int {
	t.Helper()
	pid := strconv.Itoa(k.Process.Pid)
	children, err := filepath.Glob("/proc/" + pid + "/task/*/children")
	require.NoError(t, err)
	for _, file := range children {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		if guard, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			return guard
		}
	}
	require.Fail(t, "there is no guard")
	return 0
}

func TestAScriptIsNotReadByWhatHoldsForIt(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	cmd := p.command()
	bash, err := exec.LookPath("bash")
	require.NoError(t, err)
	cmd.Path, cmd.Args = bash, []string{"bash", "-s"}
	k := launch(t, cmd)
	_, err = io.WriteString(k.in, "exec 9< <(exec conclave lock a); read -r token key <&9\necho \"still here: $key\"\n")
	require.NoError(t, err)
	k.says("still here: a/~mutex/")
	require.NoError(t, k.in.Close())
	require.Zero(t, k.ends())
	p.good("lock", "a", "--", "true")
}

func TestAHoldEndsWithAnInputThatIsNotRead(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	k := p.start("lock", "a")
	k.says("a/~mutex/")
	_, err := io.WriteString(k.in, "unread\n")
	require.NoError(t, err)
	require.NoError(t, k.in.Close())
	require.Zero(t, k.ends())

	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	socket := os.NewFile(uintptr(fds[1]), "socket")
	cmd := p.command("lock", "a")
	cmd.Stdin = socket
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	require.NoError(t, socket.Close())
	_, err = fmt.Fscanln(out, new(string), new(string))
	require.NoError(t, err)
	require.NoError(t, unix.Shutdown(fds[0], unix.SHUT_WR))
	require.NoError(t, cmd.Wait())
	require.NoError(t, unix.Close(fds[0]))
}
