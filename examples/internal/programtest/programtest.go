// Package programtest runs an example as its user does: as a process, with nothing
// left behind.
package programtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/tempdir"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// variable in the environment makes the test binary the program, of which the
// workers are copies as usual.
const variable = "CONCLAVE_EXAMPLE_TEST"

// Hang bounds a run that should have ended long before.
const Hang = 3 * time.Minute

// Main is what TestMain calls. program is the example's main, and does not return. The
// workers of a test that plays the parent itself are copies of the program, too.
func Main(m *testing.M, program func()) {
	if os.Getenv(variable) != "" || os.Getenv(process.Variable) != "" {
		program()
	}
	flag.Parse()
	// The tests wait for leases most of the time, whatever the number of processors. -parallel
	// says otherwise, unless it says the default.
	if flag.Lookup("test.parallel").Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := flag.Set("test.parallel", "8"); err != nil {
			panic(err)
		}
	}
	etcdtest.Main(m)
}

// Run is one run of the program.
type Run struct {
	// Cmd is the process.
	Cmd *exec.Cmd
	// Stdout is what it prints, once it was started by Start.
	Stdout *bufio.Reader
	// Stderr is what it says of errors, to be read when it has ended.
	Stderr bytes.Buffer

	tmp string
}

// Prepare makes a run of the program, without what the environment says about etcd and the
// terminal.
func Prepare(t *testing.T, environment []string, args ...string) *Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Hang)
	t.Cleanup(cancel)
	r := &Run{tmp: t.TempDir()}
	r.Cmd = exec.CommandContext(ctx, os.Args[0], args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "ETCDCTL_") && !strings.HasPrefix(v, "COLUMNS=") {
			r.Cmd.Env = append(r.Cmd.Env, v)
		}
	}
	r.Cmd.Env = append(r.Cmd.Env, variable+"=1", "TMPDIR="+r.tmp)
	r.Cmd.Env = append(r.Cmd.Env, environment...)
	r.Cmd.Stderr = &r.Stderr
	return r
}

// Start begins a run whose output the test reads.
func Start(t *testing.T, environment []string, args ...string) *Run {
	t.Helper()
	r := Prepare(t, environment, args...)
	stdout, err := r.Cmd.StdoutPipe()
	require.NoError(t, err)
	r.Stdout = bufio.NewReader(stdout)
	require.NoError(t, r.Cmd.Start())
	return r
}

// Read returns a run that is no process: only what it prints.
func Read(out io.Reader) *Run { return &Run{Stdout: bufio.NewReader(out)} }

// AwaitLine reads what the program prints up to a line that contains text.
func (r *Run) AwaitLine(t *testing.T, text string) {
	t.Helper()
	for {
		line, err := r.Stdout.ReadString('\n')
		require.NoErrorf(t, err, "before %q", text)
		if strings.Contains(line, text) {
			return
		}
	}
}

// Finish waits for the end, and returns what was printed and the exit code.
func (r *Run) Finish(t *testing.T) (string, int) {
	t.Helper()
	out, err := io.ReadAll(r.Stdout)
	require.NoError(t, err)
	var exit *exec.ExitError
	if err := r.Cmd.Wait(); err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	r.RequireNothingLeft(t)
	return string(out), r.Cmd.ProcessState.ExitCode()
}

// RequireNothingLeft looks for the folder and the processes of a run.
func (r *Run) RequireNothingLeft(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(r.tmp)
	require.NoError(t, err)
	assert.Empty(t, left, "folders")
	assert.Empty(t, r.Processes(), "processes")
}

// Processes returns those of the run, which have its folder in their environment.
// Without /proc there are none.
func (r *Run) Processes() []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		if env, err := os.ReadFile(f); err == nil && strings.Contains(string(env), "TMPDIR="+r.tmp+"\x00") {
			found = append(found, f)
		}
	}
	return found
}

// Play runs the program to its end, which has to be good, in a pipe.
func Play(t *testing.T, environment []string, args ...string) string {
	t.Helper()
	r := Start(t, environment, args...)
	out, code := r.Finish(t)
	require.Zerof(t, code, "%s\n%s", out, r.Stderr.String())
	require.NotContains(t, out, "\x1b", "escape sequences in a pipe")
	// How long the names of temporary folders are is not up to the program.
	for line := range strings.Lines(strings.ReplaceAll(out, os.TempDir(), "")) {
		assert.LessOrEqual(t, len([]rune(strings.TrimSuffix(line, "\n"))), 80, "width of %q", line)
	}
	return out
}

// RequireInterruptible interrupts a run when it has printed a line that contains
// text, and returns what it printed after that.
func RequireInterruptible(t *testing.T, text string, args ...string) string {
	t.Helper()
	r := Start(t, nil, args...)
	r.AwaitLine(t, text)
	require.NoError(t, r.Cmd.Process.Signal(os.Interrupt))
	out, code := r.Finish(t)
	assert.Equal(t, 130, code)
	return out
}

// RequireOrphansEnd kills a run when it has printed a line that contains text. The
// workers have to notice, and what it leaves in files has to go with the next.
func RequireOrphansEnd(t *testing.T, text string, args ...string) {
	t.Helper()
	r := Start(t, nil, args...)
	r.AwaitLine(t, text)
	require.NoError(t, r.Cmd.Process.Kill())
	require.Error(t, r.Cmd.Wait())
	assert.Eventually(t, func() bool { return len(r.Processes()) == 0 }, Hang/2, 50*time.Millisecond)
	next, err := tempdir.MakeIn(r.tmp, "next")
	require.NoError(t, err)
	require.NoError(t, next.Remove())
	r.RequireNothingLeft(t)
}

// RequireNotDone tells the program itself to end while the test has the lock that it waits
// for. It has to fail, and to say that last, in one line.
func RequireNotDone(t *testing.T, lockName, said string, args ...string) {
	t.Helper()
	c := etcdtest.New(t)
	session, err := lease.NewSession(t.Context(), c.Client(t))
	require.NoError(t, err)
	mutex, err := lock.NewMutex(session, lockName)
	require.NoError(t, err)
	_, err = mutex.Lock(t.Context())
	require.NoError(t, err)
	r := Start(t, nil, append([]string{"-endpoints", c.Endpoints()[0]}, args...)...)
	waits := func() int {
		entries, err := lock.Inspect(t.Context(), session.Client(), lockName)
		require.NoError(t, err)
		return len(entries) - 1
	}
	require.Eventually(t, func() bool { return waits() == 1 }, Hang, 10*time.Millisecond)
	require.NoError(t, r.Cmd.Process.Signal(syscall.SIGTERM))
	_, code := r.Finish(t)
	assert.Equal(t, 1, code)
	assert.Regexp(t, `(?m)^`+regexp.QuoteMeta(said)+`.*\n\z`, r.Stderr.String())
	require.Eventually(t, func() bool { return waits() == 0 }, Hang, 10*time.Millisecond, "it has left the queue")
	require.NoError(t, session.Close(t.Context()))
}

// RequireUsage requires that command lines are refused with their usage.
func RequireUsage(t *testing.T, usage string, lines map[string][]string) {
	t.Helper()
	for name, args := range lines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := Start(t, nil, args...)
			out, code := r.Finish(t)
			assert.Equal(t, 2, code)
			assert.Empty(t, out)
			assert.Regexp(t, `(?m)^`+regexp.QuoteMeta(usage), r.Stderr.String())
		})
	}
}

// RequireInOrder requires that the patterns match one after another.
func RequireInOrder(t *testing.T, out string, patterns ...string) {
	t.Helper()
	rest := out
	for _, p := range patterns {
		at := regexp.MustCompile(p).FindStringIndex(rest)
		require.NotNilf(t, at, "%s\nnot found, or not there, in\n%s", p, out)
		rest = rest[at[1]:]
	}
}

// Unseen returns acts that nobody sees.
func Unseen(t *testing.T) *screen.Acts {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, null.Close()) })
	return screen.NewActs(null, func(err error) { assert.NoError(t, err) })
}

// RequireCopy requires that program.go, and the other files that are named, need nothing but
// a main that calls a function, and import nothing that is not public.
func RequireCopy(t *testing.T, function string, others ...string) {
	t.Helper()
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "main.go")}
	main := "package main\n\nfunc main() { _ = " + function + "(nil, nil) }\n"
	require.NoError(t, os.WriteFile(files[0], []byte(main), 0o600))
	for _, name := range append([]string{"program.go"}, others...) {
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		files = append(files, filepath.Join(dir, name))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), source, 0o600))
	}
	out, err := exec.Command("go", append([]string{"build", "-o", filepath.Join(dir, "copy")}, files...)...).CombinedOutput()
	require.NoError(t, err, string(out))
}
