//go:build linux

package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// headless is the variable that makes the test's program one whose main thread has ended.
const headless = "CONCLAVE_GUARD_HEADLESS"

func init() { //nolint:gochecknoinits // only here it is certain that this is the main thread
	if os.Getenv(headless) == "" {
		return
	}
	runtime.LockOSThread()
	go func() {
		for {
			<-time.After(time.Hour)
		}
	}()
	_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
}

func TestMain(m *testing.M) {
	if null := os.Getenv(nullVariable); null != "" {
		nullDevice = null
	}
	if filepath.Base(os.Args[0]) == Name {
		if sig, err := strconv.Atoi(os.Getenv(signalVariable)); err == nil {
			_ = unix.Kill(os.Getpid(), unix.Signal(sig))
			<-time.After(hang)
		}
		os.Exit(Main(os.Args[1:]))
	}
	if run := runs[os.Getenv(runVariable)]; run != nil {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// runVariable names one of the runs, which the test's program is then: Run takes its standard output away, which the tests
// need.
const runVariable = "CONCLAVE_GUARD_RUN"

// nullVariable is the null device for what is run.
const nullVariable = "CONCLAVE_GUARD_NULL"

// signalVariable is the signal that a guard gets before it does anything.
const signalVariable = "CONCLAVE_GUARD_SIGNAL"

var runs = map[string]func() int{
	"unannounced": runUnannounced, "deaf and lost": runDeafAndLost, "deaf": runDeaf,
	"no null device": runWithoutNull, "slow look": runSlowLook, "early signal": runEarlySignal,
	"interrupted": runInterrupted,
}

// command is the test's program as one of the runs.
func command(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	t.Cleanup(cancel)
	process := exec.CommandContext(ctx, program)
	process.Dir, process.Env = t.TempDir(), append(os.Environ(), runVariable+"="+name)
	return process
}

// run is the test's program as one of the runs, and returns its exit code.
func run(t *testing.T, name string) int {
	t.Helper()
	process := command(t, name)
	process.Stderr = os.Stderr
	process.SysProcAttr = &unix.SysProcAttr{Setsid: true} // nobody's terminal is its terminal
	process.Cancel = func() error { return unix.Kill(-process.Process.Pid, unix.SIGKILL) }
	_ = process.Run() // the code says more
	return process.ProcessState.ExitCode()
}

// renewed is a lease that is renewed as soon as somebody has looked at it.
type renewed struct {
	end  time.Time
	seen bool
}

func (r *renewed) Remaining() time.Duration {
	left := time.Until(r.end)
	if r.seen {
		left += time.Hour
	}
	r.seen = true
	return left
}

func (*renewed) Context() context.Context { return context.Background() }

// runUnannounced runs a command that ends half a second after it would be ended, but for the renewal.
func runUnannounced() int {
	const ttl, killBefore = 10 * time.Second, 5 * time.Second
	c := Command{Path: "/bin/sh", Args: []string{"sh", "-c", "sleep 5.5; exit 7"}, Env: os.Environ(), KillBefore: killBefore}
	result, err := Run(c, &renewed{end: time.Now().Add(ttl)}, nil, nil)
	if err != nil || result.Ended {
		fmt.Fprintln(os.Stderr, result, err)
		return 1
	}
	return result.Code
}

// hang bounds what should have happened long before.
const hang = time.Minute

// touch is a command that leaves a file behind.
func touch(file string) Command {
	return Command{Path: "/bin/sh", Args: []string{"sh", "-c", "echo >" + file}, Env: os.Environ(), KillBefore: 2 * time.Second}
}

func TestACommandThatWouldBeEndedAtOnceIsNotStarted(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "started")
	said := guarded(t, newPlan(touch(file), 0, now()+int64(time.Second)))
	require.Equal(t, report{Exited: true, Result: Result{Ended: true, Unstarted: true}}, said)
	require.NoFileExists(t, file)
}

func TestWhatIsStartedBesideAGuardDoesNotInheritItsSocket(t *testing.T) {
	t.Parallel()
	ours, theirs, err := socketpair()
	require.NoError(t, err)
	for _, fd := range []int{ours, theirs} {
		require.False(t, Inherited(fd))
		require.NoError(t, unix.Close(fd))
	}
}

// over is a lease that has ended.
type over struct{ ctx context.Context } //nolint:containedctx // it is what Context returns

func (over) Remaining() time.Duration { return 0 }

func (o over) Context() context.Context { return o.ctx }

func TestACommandWhoseLeaseIsOverIsNotStarted(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "started")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	result, err := Run(touch(file), over{ctx}, nil, nil)
	require.NoError(t, err)
	require.Equal(t, Result{Ended: true, Unstarted: true}, result)
	require.NoFileExists(t, file)
}

func TestACommandGoesOnUnderALeaseOfWhichNobodySaysThatItWasRenewed(t *testing.T) {
	t.Parallel()
	require.Equal(t, 7, run(t, "unannounced"))
}

// held is a lease that is renewed all the time, until its context ends.
type held struct {
	left atomic.Int64
	ctx  context.Context //nolint:containedctx // it is what Context returns
}

func (h *held) Remaining() time.Duration { return time.Duration(h.left.Load()) }

func (h *held) Context() context.Context { return h.ctx }

// runStopped runs a command whose guard is stopped. Then the lease has only so much left at each of its renewals, and more are
// announced than the guard takes before then is called.
func runStopped(left time.Duration, then func(lose func())) int {
	const full = 5000 // does not fit into the socket
	c := Command{Path: "/bin/sh", Args: []string{"sh", "-c", "kill -STOP $PPID; echo >stopped; exec sleep 300"}, Env: os.Environ(), KillBefore: time.Second}
	if err := unix.Mkfifo("stopped", 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	lease, renewed := &held{ctx: ctx}, make(chan struct{})
	lease.left.Store(int64(time.Hour))
	go func() {
		_, _ = os.ReadFile("stopped") // it is stopped by the time there is something to read
		lease.left.Store(int64(left))
		for range full {
			renewed <- struct{}{}
		}
		then(cancel)
	}()
	if result, err := Run(c, lease, renewed, nil); !errors.Is(err, ErrGone) || len(targets(0, 0, true)) > 0 {
		fmt.Fprintln(os.Stderr, result, err)
		return 1
	}
	return 0
}

func runDeafAndLost() int { return runStopped(time.Hour, func(lose func()) { lose() }) }

func runDeaf() int { return runStopped(2*time.Second, func(func()) {}) }

func TestACommandWhoseGuardTakesNoOrdersIsKilledWhenTheLeaseIsLost(t *testing.T) {
	t.Parallel()
	require.Zero(t, run(t, "deaf and lost"))
}

func TestACommandWhoseGuardTakesNoOrdersIsKilledAtTheLastDeadlineThatItTook(t *testing.T) {
	t.Parallel()
	require.Zero(t, run(t, "deaf"))
}

func TestWhatAppearsAfterTheEndOfTheCommandIsEndedToo(t *testing.T) {
	t.Parallel()
	child := exec.CommandContext(t.Context(), "/bin/sh", "-c", `trap "" TERM; echo ready; while :; do sleep 0.02; done`)
	child.SysProcAttr = &unix.SysProcAttr{Setsid: true} // the warden sees nothing else of this process's
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	defer func() { _ = child.Process.Kill() }()
	_, err = fmt.Fscanln(out, new(string))
	require.NoError(t, err)
	over := make(chan struct{})
	w := &warden{
		pid: child.Process.Pid, session: child.Process.Pid, reports: json.NewEncoder(io.Discard), wake: time.NewTimer(look),
		deadline: now() - int64(time.Second), result: &Result{Code: 3}, // no look has found anything when the command ended
	}
	go func() {
		defer close(over)
		w.run()
	}()
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	select {
	case err := <-ended:
		require.EqualError(t, err, "signal: killed")
	case <-time.After(hang):
		require.Fail(t, "it goes on")
	}
	<-over
	require.Equal(t, Result{Code: 3}, *w.result)
}

func TestAProcessWhoseMainThreadHasEndedIsNotOver(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	require.NoError(t, err)
	// Its parent is not this process: one that has ended counts here until it is waited for.
	shell := exec.CommandContext(t.Context(), "/bin/sh", "-c", `"$0" & echo $!; wait`, program)
	shell.Env = append(os.Environ(), headless+"=1")
	out, err := shell.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, shell.Start())
	var pid int
	_, err = fmt.Fscan(out, &pid)
	require.NoError(t, err)
	defer func() {
		require.NoError(t, unix.Kill(pid, unix.SIGKILL))
		require.NoError(t, shell.Wait())
	}()
	require.Eventually(t, func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		require.NoError(t, err)
		return strings.Contains(string(stat), ") Z ")
	}, hang, 5*time.Millisecond)
	require.Contains(t, targets(0, 0, true), pid)
}

// runWithoutNull runs a command that leaves a file behind, which it should not: it cannot be run without a null device. Then
// all that was started has ended.
func runWithoutNull() int {
	nullDevice = "missing"
	c, lease := touch("started"), &held{ctx: context.Background()}
	c.First = int(unix.SIGCONT) // if it is ended it has time for that
	lease.left.Store(int64(time.Hour))
	result, err := Run(c, lease, nil, nil)
	for {
		if _, err := unix.Wait4(-1, nil, 0, nil); errors.Is(err, unix.ECHILD) {
			break
		}
	}
	if _, serr := os.Stat("started"); err == nil || !errors.Is(serr, os.ErrNotExist) {
		fmt.Fprintln(os.Stderr, result, err, serr)
		return 1
	}
	return 0
}

func TestACommandIsNotStartedWithoutANullDevice(t *testing.T) {
	t.Parallel()
	require.Zero(t, run(t, "no null device"))
	said := guarded(t, newPlan(touch(filepath.Join(t.TempDir(), "started")), 0, 0), nullVariable+"=missing")
	require.Contains(t, said.Failed, "missing", "%v", said)
}

// guarded returns what a guard says first of a plan.
func guarded(t *testing.T, p plan, env ...string) (said report) {
	t.Helper()
	ours, theirs, err := socketpair()
	require.NoError(t, err)
	pid, err := spawn("/proc/self/exe", theirs, append(os.Environ(), env...))
	require.NoError(t, err)
	require.NoError(t, unix.Close(theirs))
	socket := os.NewFile(uintptr(ours), "guard")
	require.NoError(t, json.NewEncoder(socket).Encode(p))
	require.NoError(t, json.NewDecoder(socket).Decode(&said))
	require.NoError(t, socket.Close())
	_, err = unix.Wait4(pid, nil, 0, nil)
	require.NoError(t, err)
	return said
}

// runSlowLook kills commands while the look at all processes does not end before they have.
func runSlowLook() int {
	for _, kill := range []func(pid int){
		func(pid int) { (&warden{pid: pid}).signal(unix.SIGKILL) },
		func(pid int) { (&runner{pid: pid, guard: os.Getpid()}).kill() },
	} {
		child := exec.CommandContext(context.Background(), "/bin/sleep", "300")
		child.SysProcAttr = attributes(0)
		if err := child.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = child.Wait() // it is killed
		}()
		code := 0
		targets = func(int, int, bool) []int {
			select {
			case <-ended:
			case <-time.After(hang / 6):
				code = 1
			}
			return nil
		}
		if kill(child.Process.Pid); code != 0 {
			return code
		}
	}
	return 0
}

func TestACommandsGroupIsKilledBeforeTheLookAtAllProcesses(t *testing.T) {
	t.Parallel()
	require.Zero(t, run(t, "slow look"))
}

// runEarlySignal passes the signals of a terminal on, before there is a command and then.
func runEarlySignal() int {
	ours, theirs, err := socketpair()
	r := &runner{tty: terminal(), orders: orders{socket: ours}}
	if err != nil || !r.foreground() {
		fmt.Fprintln(os.Stderr, "not in the foreground", err)
		return 1
	}
	r.pass(unix.SIGINT)
	r.pid = os.Getpid()
	for _, s := range []unix.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTERM} {
		r.pass(s)
	}
	in := json.NewDecoder(os.NewFile(uintptr(theirs), "orders"))
	for _, want := range []unix.Signal{unix.SIGINT, unix.SIGTERM} {
		var got order
		if err := in.Decode(&got); err != nil || got != (order{Signal: int(want)}) {
			fmt.Fprintln(os.Stderr, want, got, err)
			return 1
		}
	}
	return 0
}

func TestTheTerminalsSignalIsPassedOnToACommandThatThereWasNotYet(t *testing.T) {
	t.Parallel()
	process := command(t, "early signal")
	process.WaitDelay = time.Second
	keys, err := pty.StartWithAttrs(process, nil, &unix.SysProcAttr{Setsid: true, Setctty: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, keys.Close()) }()
	said, _ := io.ReadAll(keys) // it fails when nobody has the terminal any more
	require.NoError(t, process.Wait(), "%s", said)
}

// runInterrupted runs commands whose guards get a signal first.
func runInterrupted() int {
	for sig, want := range map[unix.Signal]error{
		unix.SIGTERM: nil, unix.SIGINT: nil, unix.SIGHUP: nil, unix.SIGQUIT: nil, unix.SIGKILL: ErrGone,
	} {
		c := touch("started")
		c.Env = append(c.Env, fmt.Sprintf("%s=%d", signalVariable, sig), "GOTRACEBACK=none")
		signals := make(chan os.Signal, 1)
		signals <- sig // conclave has it as well
		result, err := Run(c, &renewed{end: time.Now().Add(time.Hour)}, nil, signals)
		is := Result{Code: 128 + int(sig), Signal: int(sig)}
		if want != nil {
			is = Result{Ended: true}
		}
		if !errors.Is(err, want) || result != is {
			fmt.Fprintln(os.Stderr, sig, result, err)
			return 1
		}
	}
	if _, err := os.Stat("started"); err == nil {
		return 1
	}
	return 0
}

func TestASignalThatEndsTheGuardBeforeThereIsACommandIsAnInterruption(t *testing.T) {
	t.Parallel()
	require.Zero(t, run(t, "interrupted"))
}
