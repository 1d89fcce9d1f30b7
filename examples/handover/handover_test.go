package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// programVariable in the environment makes the test binary the program, of which
// the workers are copies as usual.
const programVariable = "CONCLAVE_HANDOVER_TEST"

// hang bounds a run that should have ended long before.
const hang = time.Minute

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		main()
	}
	flag.Parse()
	// The tests wait for leases most of the time, whatever the number of processors.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// testRun is one run of the program.
type testRun struct {
	cmd    *exec.Cmd
	stdout io.Reader
	stderr bytes.Buffer
	tmp    string
}

// prepare makes a run of the program, without what the environment says about etcd.
func prepare(t *testing.T, environment []string, args ...string) *testRun {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	t.Cleanup(cancel)
	r := &testRun{tmp: t.TempDir()}
	r.cmd = exec.CommandContext(ctx, os.Args[0], args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "ETCDCTL_") {
			r.cmd.Env = append(r.cmd.Env, v)
		}
	}
	r.cmd.Env = append(r.cmd.Env, programVariable+"=1", "TMPDIR="+r.tmp)
	r.cmd.Env = append(r.cmd.Env, environment...)
	r.cmd.Stderr = &r.stderr
	return r
}

// start begins a run whose output the test reads.
func start(t *testing.T, environment []string, args ...string) *testRun {
	t.Helper()
	r := prepare(t, environment, args...)
	stdout, err := r.cmd.StdoutPipe()
	require.NoError(t, err)
	r.stdout = bufio.NewReader(stdout)
	require.NoError(t, r.cmd.Start())
	return r
}

// finish waits for the end, and returns what was printed and the exit code.
func (r *testRun) finish(t *testing.T) (string, int) {
	t.Helper()
	out, err := io.ReadAll(r.stdout)
	require.NoError(t, err)
	var exit *exec.ExitError
	if err := r.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	r.requireNothingLeft(t)
	return string(out), r.cmd.ProcessState.ExitCode()
}

// requireNothingLeft looks for the folder and the processes of a run. The processes
// have the folder in their environment.
func (r *testRun) requireNothingLeft(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(r.tmp)
	require.NoError(t, err)
	assert.Empty(t, left, "folders")
	assert.Empty(t, processesWith("TMPDIR="+r.tmp), "processes")
}

// play runs the program to its end.
func play(t *testing.T, environment []string, args ...string) string {
	t.Helper()
	r := start(t, environment, args...)
	out, code := r.finish(t)
	require.Zerof(t, code, "%s\n%s", out, r.stderr.String())
	require.NotContains(t, out, "\x1b", "escape sequences in a pipe")
	for line := range strings.Lines(out) {
		assert.LessOrEqual(t, len([]rune(strings.TrimSuffix(line, "\n"))), 80, "width of %q", line)
	}
	return out
}

func TestRunShowsHandOversAndTheirCost(t *testing.T) {
	t.Parallel()
	out := play(t, nil, "-run", "-duration", "500ms")
	assert.Regexp(t, `w\d holds, token \d+, [\d.]+ ms after w\d; waiting: w\d for w\d`, out)
	assert.Regexp(t, `hand-overs +p50 +p90 +p99 +max\nconclave +\d+ +[\d.]+ ms +[\d.]+ ms +[\d.]+ ms +[\d.]+ ms\n`, out)
	assert.Regexp(t, `RPCs per acquisition, conclave: \d\.\d\d\n  .*Txn \d`, out)
}

func TestOfficialHasTheSameOutput(t *testing.T) {
	t.Parallel()
	out := play(t, nil, "-official", "-duration", "500ms")
	assert.Regexp(t, `w\d holds, token \d+, [\d.]+ ms after w\d; waiting: w\d for w\d`, out)
	assert.Regexp(t, `\nclientv3/concurrency +\d+ +[\d.]+ ms`, out)
	assert.Regexp(t, `RPCs per acquisition, clientv3/concurrency: \d\.\d\d\n`, out)
}

func TestCrashShowsTheSuccessorTakingOver(t *testing.T) {
	t.Parallel()
	out := play(t, nil, "-crash", "-ttl", "1s")
	requireInOrder(t, out,
		`w1, the holder with token \d+, is killed \(SIGKILL\)`,
		`w[23] is granted token \d+, [\d.]+ m?s after the kill \(TTL 1s\)`,
		`conclave, killed:\n  successor granted`,
	)
}

func TestPauseShowsTheStaleWriteRefused(t *testing.T) {
	t.Parallel()
	if !canPause {
		t.Skip("no SIGSTOP here")
	}
	for _, lib := range []string{"-official=false", "-official"} {
		out := play(t, nil, "-pause", "-ttl", "1s", lib)
		requireInOrder(t, out, `w1, the holder with token \d+, is stopped`, `w[23] is granted`, `w1 wakes up`, `w1 is told`)
		assert.Contains(t, out, "guarded by the hold it lost, is refused by etcd")
		assert.Contains(t, out, "late guarded write refused by etcd")
	}
}

func TestPartitionTellsTheHolderBeforeItsSuccessor(t *testing.T) {
	t.Parallel()
	requireInOrder(t, play(t, nil, "-partition"),
		`w1, the holder with token \d+, is cut off from etcd`,
		`w1 is told, [\d.]+ m?s after the cut: lock: lost`,
		`w[23] is granted token \d+, [\d.]+ m?s after the cut`,
		`so it was told [\d.]+ m?s before its successor was granted`,
		`the cut is healed`,
		`is refused by etcd`,
		`w1 is back in the queue and granted token`,
	)
}

func TestOfficialPartitionGivesAVerdict(t *testing.T) {
	t.Parallel()
	assert.Regexp(t, `so it was told [\d.]+ m?s (before its successor|AFTER its successor was granted: two holders)`,
		play(t, nil, "-partition", "-official", "-ttl", "1s"))
}

func TestTourShowsEverything(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("the other tests show the same, one by one")
	}
	out := play(t, nil, "-ttl", "1s", "-duration", "300ms", "-workers", "2")
	requireInOrder(t, out, `1/\d  2 processes`, `2/\d  The same`, `3/\d  The holder is killed`, `The holder is cut off`, `The same with`)
	assert.Regexp(t, `\nclientv3/concurrency, cut off +\d+`, out)
}

func TestNamedClusterIsUsedWithItsUserAndLeftClean(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.EnableAuth(t.Context()))
	environment := []string{
		"ETCDCTL_ENDPOINTS=http://" + strings.TrimPrefix(c.Endpoints()[0], "http://"),
		"ETCDCTL_USER=" + etcdtest.RootUser + ":" + etcdtest.RootPassword,
	}
	out := play(t, environment, "-partition", "-ttl", "1s", "-prefix", "test/")
	assert.Contains(t, out, "etcd at http://")
	assert.Contains(t, out, "before its successor was granted")
	client := c.Client(t, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword))
	resp, err := client.Get(t.Context(), "\x00", clientv3.WithFromKey())
	require.NoError(t, err)
	assert.Empty(t, resp.Kvs)
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"workers":        {"-workers", "1"},
		"fractional TTL": {"-ttl", "1500ms"},
		"duration":       {"-duration", "-1s"},
		"no password":    {"-endpoints", "localhost:1", "-user", "u"},
		"cert, no key":   {"-endpoints", "localhost:1", "-cert", "c.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, nil, args...)
			out, code := r.finish(t)
			assert.Equal(t, 2, code)
			assert.Empty(t, out)
			assert.Regexp(t, `(?m)^usage: handover `, r.stderr.String())
		})
	}
}

func TestHelpExplainsTheFlags(t *testing.T) {
	t.Parallel()
	out, code := start(t, []string{"ETCDCTL_PASSWORD=secret"}, "-h").finish(t)
	assert.Zero(t, code)
	assert.Contains(t, out, "-partition")
	assert.NotContains(t, out, "secret")
}

// requireInOrder requires that the patterns match one after another.
func requireInOrder(t *testing.T, out string, patterns ...string) {
	t.Helper()
	rest := out
	for _, p := range patterns {
		at := regexp.MustCompile(p).FindStringIndex(rest)
		require.NotNilf(t, at, "%s\nnot found, or not there, in\n%s", p, out)
		rest = rest[at[1]:]
	}
}
