package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/servers"
	"github.com/conclave-go/conclave/internal/suite"
)

// hang bounds what should have happened long before.
const hang = 5 * time.Minute

// binary is the program, built as `go install` does.
var binary string

func TestMain(m *testing.M) {
	process.Main(map[string]process.Role{servers.MemberRole: servers.Member})
	dir, err := os.MkdirTemp("", "conclave-cli")
	if err == nil {
		binary = filepath.Join(dir, "conclave")
		err = build(binary)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(removing{suite.Of(m), dir})
}

// removing removes a directory when the tests have run.
type removing struct {
	goleak.TestingM

	dir string
}

func (r removing) Run() int {
	code := r.TestingM.Run()
	_ = os.RemoveAll(r.dir) // it is in the temporary folder
	return code
}

func build(path string) error {
	cmd := exec.Command("go", "build", "-o", path, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// program is how tests use the program: with an etcd, and names of their own.
type program struct {
	t         *testing.T
	endpoints string
	name      string // begins all names
	dir       string // where it runs
	env       []string
}

func newProgram(t *testing.T) *program {
	t.Helper()
	c := etcdtest.New(t)
	return &program{t: t, endpoints: strings.Join(c.Endpoints(), ","), name: "job", dir: t.TempDir()}
}

// via returns the program as it is used from elsewhere.
func (p *program) via(endpoints ...string) *program {
	q := *p
	q.endpoints = strings.Join(endpoints, ",")
	return &q
}

func (p *program) with(env ...string) *program {
	q := *p
	q.env = append(slices.Clip(p.env), env...)
	return &q
}

// command is the program in a session of its own: nobody's terminal is its terminal.
func (p *program) command(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(p.t.Context(), hang)
	p.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "ETCDCTL_ENDPOINTS="+p.endpoints, "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	cmd.Env = append(cmd.Env, p.env...)
	cmd.SysProcAttr = ownSession()
	return cmd
}

// outcome is what a run has left.
type outcome struct {
	code           int
	stdout, stderr string
}

// run runs the program to its end.
func (p *program) run(args ...string) outcome { return p.feed("", args...) }

// feed runs it with an input.
func (p *program) feed(stdin string, args ...string) outcome {
	p.t.Helper()
	cmd := p.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	code := exitCode(p.t, cmd.Run())
	return outcome{code, stdout.String(), stderr.String()}
}

// good runs it, and requires that all is well.
func (p *program) good(args ...string) string {
	p.t.Helper()
	o := p.run(args...)
	require.Zero(p.t, o.code, "%v: %s", args, o.stderr)
	require.Empty(p.t, o.stderr, "nothing is said when all is well")
	return o.stdout
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	require.NoError(t, err)
	return 0
}

// task is a run that goes on.
type task struct {
	*exec.Cmd

	t      *testing.T
	in     io.WriteCloser
	stdout *output
	stderr *output
	done   chan struct{}
	err    error
}

// start starts a run whose input stays open.
func (p *program) start(args ...string) *task {
	p.t.Helper()
	return launch(p.t, p.command(args...))
}

func launch(t *testing.T, cmd *exec.Cmd) *task {
	t.Helper()
	k := &task{Cmd: cmd, t: t, stdout: newOutput(), stderr: newOutput(), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = k.stdout, k.stderr
	// What a killed conclave leaves behind may have its output open.
	cmd.WaitDelay = 5 * time.Second
	var err error
	k.in, err = cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	go func() {
		defer close(k.done)
		k.err = cmd.Wait()
	}()
	t.Cleanup(func() { // whatever state it is in
		_ = cmd.Process.Kill()
		<-k.done
	})
	return k
}

// says waits until it has printed something.
func (k *task) says(words string) {
	k.t.Helper()
	k.stdout.await(k.t, words, k.done)
}

// ends waits for its end and returns the exit code.
func (k *task) ends() int {
	k.t.Helper()
	select {
	case <-k.done:
	case <-time.After(hang):
		require.Fail(k.t, "it does not end", "stdout %q stderr %q", k.stdout, k.stderr)
	}
	if errors.Is(k.err, exec.ErrWaitDelay) {
		return k.ProcessState.ExitCode()
	}
	return exitCode(k.t, k.err)
}

// output is what a process prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed when there is more
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await waits for words.
func (o *output) await(t *testing.T, words string, done <-chan struct{}) {
	t.Helper()
	for end := time.After(hang); ; {
		o.mu.Lock()
		text, more := o.text.String(), o.more
		o.mu.Unlock()
		if strings.Contains(text, words) {
			return
		}
		select {
		case <-more:
		case <-done:
			if strings.Contains(o.String(), words) {
				return
			}
			require.Failf(t, "it has ended", "without saying %q: %q", words, o)
		case <-end:
			require.Failf(t, "it does not say", "%q: %q", words, o)
		}
	}
}

// count counts the processes in "pids" that still live.
const count = `n=0; for pid in $(cat pids); do kill -0 "$pid" 2>/dev/null && n=$((n+1)); done; echo "left: $n"`

// left is what count says in a directory.
func left(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", count)
	cmd.Dir = dir
	out, err := cmd.Output()
	require.NoError(t, err)
	return string(out)
}

// poll is how often tests look for what nobody tells them.
const poll = 5 * time.Millisecond

// client is a client of the same etcd.
func (p *program) client() *clientv3.Client {
	p.t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(p.endpoints, ","), Logger: zap.NewNop()})
	require.NoError(p.t, err)
	p.t.Cleanup(func() { require.NoError(p.t, client.Close()) })
	return client
}

func format(n int64) string { return strconv.FormatInt(n, 10) }
