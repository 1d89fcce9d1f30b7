//go:build linux

package main_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
)

// terminal is a terminal with a program in it.
type terminal struct {
	*task

	keys *os.File
}

// terminal runs a program on a terminal of its own.
func (p *program) terminal(name string, args ...string) *terminal {
	p.t.Helper()
	cmd := p.command()
	path, err := exec.LookPath(name)
	require.NoError(p.t, err)
	cmd.Path, cmd.Args = path, append([]string{name}, args...)
	cmd.Env = append(cmd.Env, "PS1=prompt> ", "TERM=dumb")
	keys, err := pty.StartWithAttrs(cmd, &pty.Winsize{Rows: 24, Cols: 200}, &syscall.SysProcAttr{Setsid: true, Setctty: true})
	require.NoError(p.t, err)
	k := &task{Cmd: cmd, t: p.t, stdout: newOutput(), stderr: newOutput(), done: make(chan struct{})}
	go func() {
		defer close(k.done)
		buffer := make([]byte, 4096)
		for { // until everybody has closed the terminal
			n, err := keys.Read(buffer)
			_, _ = k.stdout.Write(buffer[:n])
			if err != nil {
				break
			}
		}
		k.err = cmd.Wait()
	}()
	p.t.Cleanup(func() {
		// Whoever has the terminal open keeps the reader.
		_ = exec.Command("pkill", "-KILL", "-s", strconv.Itoa(cmd.Process.Pid)).Run()
		<-k.done
		_ = keys.Close()
	})
	return &terminal{k, keys}
}

func (k *terminal) types(keys string) {
	k.t.Helper()
	_, err := k.keys.WriteString(keys)
	require.NoError(k.t, err)
}

// prompts waits until the shell has prompted n times: it may lose what is typed before it reads.
func (k *terminal) prompts(n int) {
	k.t.Helper()
	require.Eventually(k.t, func() bool { return strings.Count(k.stdout.String(), "prompt> ") >= n }, hang, poll, k.stdout)
}

const (
	ctrlC = "\x03"
	ctrlD = "\x04"
	ctrlZ = "\x1a"
)

func TestACommandHasTheTerminal(t *testing.T) {
	t.Parallel()
	k := newProgram(t).terminal(binary, "lock", "a", "--", "sh", "-c", `tty -s && stty size; read line; echo "you said $line"`)
	k.says("24 200")
	k.types("hello\n")
	k.says("you said hello")
	require.Zero(t, k.ends())
}

func TestTheTerminalsInterruptReachesTheCommandOnce(t *testing.T) {
	t.Parallel()
	k := newProgram(t).terminal(binary, "lock", "a", "--", "bash", "-c",
		`trap 'echo got it; n=$((n+1))' INT; echo ready; while [ -z "$n" ]; do sleep 0.02; done; sleep 0.3; echo "n is $n"`)
	k.says("ready")
	k.types(ctrlC)
	k.says("n is 1")
	require.Zero(t, k.ends())
}

func TestASignalForARequestReachesACommandOnATerminal(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"INT", "QUIT"} {
		p := newProgram(t)
		k := p.terminal(binary, "lock", "a", "--on-request", s, "--", "bash", "-c",
			`trap 'echo got it; exit 3' `+s+`; echo ready; while :; do sleep 0.02; done`)
		k.says("ready")
		p.good("release", "a")
		k.says("got it")
		require.Equal(t, 3, k.ends())
	}
}

func TestAShellThatIsInterruptedDoesNotGoOnWithItsLoop(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	k := p.terminal("bash", "-c", `for i in 1 2 3; do conclave lock a -- sh -c "echo turn $i; sleep 60"; done; echo after`)
	k.says("turn 1")
	k.types(ctrlC)
	require.NotZero(t, k.ends())
	require.NotContains(t, k.stdout.String(), "turn 2")
	require.NotContains(t, k.stdout.String(), "after")
	p.good("lock", "--try", "a", "--", "true")
}

func TestAJobIsStoppedAndContinued(t *testing.T) {
	t.Parallel()
	k := newProgram(t).terminal("bash", "--norc", "--noprofile", "-i")
	k.prompts(1)
	k.types("conclave lock a --ttl 300 -- sh -c 'echo ready; read line; echo you said $line'\n")
	k.says("ready\r\n")
	k.types(ctrlZ)
	k.says("Stopped")
	k.prompts(2)
	k.types("jobs | wc -l; fg\n")
	k.says("1\r\nconclave lock a --ttl 300 -- sh")
	k.types("hello\n")
	k.says("you said hello")
	k.prompts(3)
	k.types("echo code is $?\n")
	k.says("code is 0")
	k.prompts(4)
	k.types("exit\n")
	k.ends()
}

func TestAJobInTheBackgroundIsBroughtForward(t *testing.T) {
	t.Parallel()
	k := newProgram(t).terminal("bash", "--norc", "--noprofile", "-i")
	k.prompts(1)
	k.types("conclave lock a -- cat &\n")
	k.says("] ") // its number
	k.prompts(2)
	k.types("fg\n")
	k.says("conclave lock a -- cat\r\n")
	k.types("hello\n")
	k.types(ctrlD)
	k.says("hello\r\nhello")
	k.prompts(3)
	k.types("echo code is $?\n")
	k.says("code is 0")
	k.prompts(4)
	k.types("exit\n")
	k.ends()
}

func TestNothingIsLeftOfAnInteractiveShellWhenTheLockIsLost(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	k := p.terminal(binary, "lock", "a", "--ttl", shortTTL, "--", "bash", "--norc", "--noprofile", "-i")
	k.says("prompt> ")
	k.types("sh -c '" + `trap "" TERM HUP; echo $$ >>pids; echo rea""dy; while :; do sleep 0.02; done` + "' &\n")
	k.says("ready")
	send(t, k.Process.Pid, syscall.SIGSTOP)
	require.Equal(t, "left: 0\n", p.good("lock", "a", "--", "sh", "-c", count))
	send(t, k.Process.Pid, syscall.SIGCONT)
	require.Equal(t, 76, k.ends())
}

func TestThePasswordIsAskedForOnATerminal(t *testing.T) {
	t.Parallel()
	k := newProgram(t).terminal(binary, "lock", "a", "--user", "ann", "--", "echo", "done")
	k.says("password of ann: ")
	k.types("secret\n")
	k.says("done")
	require.NotContains(t, k.stdout.String(), "secret")
	require.Zero(t, k.ends())
}

func TestThePasswordNeedNotBeGiven(t *testing.T) {
	t.Parallel()
	for code, leave := range map[string]func(k *terminal){
		"130": func(k *terminal) { k.types(ctrlC) },
		"143": func(k *terminal) { k.types("half"); send(k.t, k.child(), syscall.SIGTERM) },
	} {
		k := newProgram(t).terminal("bash", "-c", `
			trap : INT
			conclave lock a --user ann -- echo done; echo "code is $?"
			stty -a | tr " " "\n" | grep -x -e "-\?echo"; echo end`)
		k.says("password of ann: ")
		leave(k)
		k.says("end")
		require.Contains(t, k.stdout.String(), "code is "+code+"\r\necho\r\n", "what is typed is shown again")
		k.ends()
	}
}

// child is the process that a shell waits for.
func (k *terminal) child() int {
	k.t.Helper()
	out, err := exec.Command("pgrep", "-P", strconv.Itoa(k.Process.Pid)).Output()
	require.NoError(k.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	require.NoError(k.t, err)
	return pid
}

func TestCompletionAsksForNoPassword(t *testing.T) {
	t.Parallel()
	k := newProgram(t).terminal(binary, "__complete", "lock", "--user", "ann", "a")
	require.Zero(t, k.ends())
	require.NotContains(t, k.stdout.String(), "password")
}

func TestPeopleSeeColoursUnlessTheyDoNotWantThem(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.start("lock", "a").says("a/~mutex/")
	for env, colours := range map[string]bool{"X=1": true, "NO_COLOR=1": false} {
		k := p.with(env).terminal("env", "TERM=xterm", binary, "inspect", "a")
		k.says("mutex")
		require.Zero(t, k.ends())
		require.Equal(t, colours, strings.Contains(k.stdout.String(), "\x1b["), env)
	}
}

func TestADeletionIsConfirmedByTypingTheToken(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	holder := p.start("lock", "a")
	holder.says("a/~mutex/")
	token := p.inspect("a").Entries[0].Token
	k := p.terminal(binary, "release", "a", "--force", token)
	k.says("Type the token: ")
	k.types("yes\n")
	require.Equal(t, 75, k.ends())
	k = p.terminal(binary, "release", "a", "--force", token)
	k.says("Type the token: ")
	k.types(token + "\n")
	require.Zero(t, k.ends())
	require.Equal(t, 76, holder.ends())
}

func TestADeletionIsNotConfirmedByASignal(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.start("lock", "a").says("a/~mutex/")
	token := p.inspect("a").Entries[0].Token
	for code, leave := range map[int]func(k *terminal){
		130: func(k *terminal) { k.types(ctrlC) },
		143: func(k *terminal) { k.types("half"); send(k.t, k.Process.Pid, syscall.SIGTERM) },
	} {
		k := p.terminal(binary, "release", "a", "--force", token)
		k.says("Type the token: ")
		leave(k)
		require.Equal(t, code, k.ends())
	}
	require.Len(t, p.inspect("a").Entries, 1)
}
