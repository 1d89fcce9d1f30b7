package start_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

func TestMain(m *testing.M) { etcdtest.Main(m) }

// hang bounds what should have happened long before.
const hang = 2 * time.Minute

func TestProgramsEndedBySIGTERMGiveBackWhatTheyHold(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	out, err := exec.Command("go", "build", "-o", bin, "./...").CombinedOutput()
	require.NoError(t, err, string(out))

	for name, play := range map[string]func(*stage){
		"a lock is the next one's":         handOver("lock", "holding", "reports/minute/"),
		"another leads":                    handOver("leader", "leading", "scheduler/"),
		"an address is not found any more": unregister,
		"a command is ended":               endCommand,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(newStage(t, bin))
		})
	}
}

// handOver ends one of two copies of a program, which says when it has what the keys
// below prefix are for.
func handOver(program, has, prefix string) func(*stage) {
	return func(s *stage) {
		first := s.start(program)
		first.awaitLine(has)
		second := s.start(program)
		s.awaitKeys(prefix, 2)
		first.terminate()
		s.requireKeys(first, prefix, 1)
		second.awaitLine(has)
		second.terminate()
		s.requireKeys(second, prefix, 0)
	}
}

func unregister(s *stage) {
	p := s.start("register")
	p.awaitLine("changed")
	p.terminate()
	s.requireKeys(p, "services/", 0)
}

func endCommand(s *stage) {
	p := s.start("command", "backup", "sh", "-c", "echo with token $LOCK_TOKEN; exec sleep 1000")
	p.awaitLine("with token")
	require.Equal(s.t, 1, p.end())
	require.Contains(s.t, p.output(), `ERROR not done error="signal: terminated"`)
	s.requireKeys(p, "backup/", 0)
}

// stage is an etcd and the programs that use it.
type stage struct {
	t         *testing.T
	bin       string
	client    *clientv3.Client
	endpoints string
}

func newStage(t *testing.T, bin string) *stage {
	t.Helper()
	c := etcdtest.New(t, etcdtest.WithControl())
	return &stage{t: t, bin: bin, client: c.Client(t), endpoints: strings.Join(c.Config().Endpoints, ",")}
}

// awaitKeys waits until there are n keys below prefix.
func (s *stage) awaitKeys(prefix string, n int64) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), hang)
	defer cancel()
	changes := s.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	for range changes {
		if s.count(prefix) == n {
			return
		}
	}
	s.t.Fatalf("%d keys below %s, not %d", s.count(prefix), prefix, n)
}

func (s *stage) count(prefix string) int64 {
	s.t.Helper()
	resp, err := s.client.Get(context.WithoutCancel(s.t.Context()), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	require.NoError(s.t, err)
	return resp.Count
}

// requireKeys requires that there are n keys below prefix when a program has ended, unless it
// took so long that it may have given up removing its own.
func (s *stage) requireKeys(ended *run, prefix string, n int64) {
	s.t.Helper()
	if !ended.late {
		require.Equal(s.t, n, s.count(prefix), "its key is still there")
	}
}

// run is a program that runs.
type run struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	mu    sync.Mutex
	text  strings.Builder
	late  bool // its end took longer than a request may take
}

func (s *stage) start(program string, args ...string) *run {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), hang)
	s.t.Cleanup(cancel)
	p := &run{t: s.t, lines: make(chan string, 1000)}
	p.cmd = exec.CommandContext(ctx, filepath.Join(s.bin, program), append([]string{"-endpoints", s.endpoints}, args...)...)
	read, write, err := os.Pipe()
	require.NoError(s.t, err)
	p.cmd.Stdout, p.cmd.Stderr = write, write
	require.NoError(s.t, p.cmd.Start())
	require.NoError(s.t, write.Close())
	var reading sync.WaitGroup
	reading.Go(func() { p.read(read) }) // ends with the program, which alone can write
	s.t.Cleanup(func() {
		cancel()
		p.cmd.Wait() //nolint:errcheck // it was waited for unless the test has failed
		reading.Wait()
	})
	return p
}

func (p *run) read(from io.ReadCloser) {
	defer func() { _ = from.Close() }()
	defer close(p.lines)
	for scan := bufio.NewScanner(from); scan.Scan(); {
		p.mu.Lock()
		p.text.WriteString(scan.Text() + "\n")
		p.mu.Unlock()
		p.lines <- scan.Text()
	}
}

func (p *run) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// awaitLine waits until the program says something.
func (p *run) awaitLine(what string) {
	p.t.Helper()
	for line := range p.lines {
		if strings.Contains(line, what) {
			return
		}
	}
	p.t.Fatalf("the program has ended and did not say %q:\n%s", what, p.output())
}

// end asks the program to end, as service managers do, waits until it has, and returns its
// exit code.
func (p *run) end() int {
	p.t.Helper()
	began := time.Now()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	for range p.lines { // until it has ended
	}
	_ = p.cmd.Wait() // the code says it
	p.late = time.Since(began) > lease.DefaultGrace
	return p.cmd.ProcessState.ExitCode()
}

// terminate ends a program that has nothing to complain about, unless etcd answers late.
func (p *run) terminate() {
	p.t.Helper()
	require.Zero(p.t, p.end(), p.output())
	for line := range strings.SplitSeq(p.output(), "\n") {
		// So clientv3 says, and the program, of a request that was under way.
		canceled := strings.Contains(line, "code = Canceled") || strings.Contains(line, `error="context canceled: terminated`)
		if !p.late && !canceled {
			require.NotRegexp(p.t, `WARN|ERROR|"level"`, line)
		}
	}
}
