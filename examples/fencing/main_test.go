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
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// programVariable in the environment makes the test binary the program, of which
// the workers are copies as usual.
const programVariable = "CONCLAVE_FENCING_TEST"

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
	etcdtest.Main(m)
}

// testRun is one run of the program.
type testRun struct {
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr bytes.Buffer
	tmp    string
}

// start begins a run of the program, without what the environment says about etcd.
func start(t *testing.T, environment []string, args ...string) *testRun {
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
	left, err := os.ReadDir(r.tmp)
	require.NoError(t, err)
	assert.Empty(t, left, "folders")
	assert.Empty(t, r.processes(), "processes")
	return string(out), r.cmd.ProcessState.ExitCode()
}

// processes returns those of the run, which have its folder in their environment.
// Without /proc there are none.
func (r *testRun) processes() []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		if env, err := os.ReadFile(f); err == nil && strings.Contains(string(env), "TMPDIR="+r.tmp+"\x00") {
			found = append(found, f)
		}
	}
	return found
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

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"fractional TTL": {"-ttl", "1500ms"},
		"no password":    {"-endpoints", "localhost:1", "-user", "u"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, nil, args...)
			out, code := r.finish(t)
			assert.Equal(t, 2, code)
			assert.Empty(t, out)
			assert.Regexp(t, `(?m)^usage: fencing `, r.stderr.String())
		})
	}
}

func TestHelpExplainsTheFlags(t *testing.T) {
	t.Parallel()
	out, code := start(t, []string{"ETCDCTL_PASSWORD=secret"}, "-h").finish(t)
	assert.Zero(t, code)
	assert.Contains(t, out, "-unguarded")
	assert.NotContains(t, out, "secret")
}

func TestOnlyTheExpectedOutcomeIsASuccess(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, null.Close()) })
	v := newView(null, func(err error) { assert.NoError(t, err) })
	refused := result{
		act: act{guarded: true}, first: event{Token: 1}, second: event{Token: 2},
		late: event{Token: 1, Newer: 2}, told: event{Lost: "lost"}, left: shouldBeLeft,
	}
	accepted := refused
	accepted.guarded, accepted.late.Newer, accepted.left = false, 0, inStock-firstSells
	require.NoError(t, v.table([]result{refused, accepted}))
	for name, change := range map[string]func(guarded, unguarded *result){
		"accepted though guarded":  func(g, _ *result) { g.late.Newer = 0 },
		"refused though unguarded": func(_, u *result) { u.late.Newer = 2 },
		"lost though guarded":      func(g, _ *result) { g.left++ },
		"right though unguarded":   func(_, u *result) { u.left = shouldBeLeft },
		"not told":                 func(_, u *result) { u.told.Lost = "" },
		"tokens do not rise":       func(g, _ *result) { g.first.Token = 2 },
	} {
		g, u := refused, accepted
		change(&g, &u)
		require.Error(t, v.table([]result{g, u}), name)
	}
}
