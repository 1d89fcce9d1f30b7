//go:build linux

package main_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// beating is a command that says every 50 ms that it runs, with a child that does so too and heeds no SIGTERM.
const beating = `
	sh -c 'trap "" TERM; while :; do date +%s%N >child.new; mv child.new child; sleep 0.05; done' &
	while [ ! -s child ]; do sleep 0.02; done
	date +%s%N >command
	echo ready
	while :; do date +%s%N >command.new; mv command.new command; sleep 0.05; done`

const (
	// rivalTTL is what both programs are given, in seconds.
	rivalTTL = 5
	// rivalWatch is how long what is left of a command is watched once the next has the lock.
	rivalWatch = 8 * time.Second
	// beats is by how much a command's last sign of life can be late.
	beats = 200 * time.Millisecond
)

// TestWhatBecomesOfACommandBesideEtcdctl measures the table in docs/cli.md. It wants etcdctl in the PATH, and
// CONCLAVE_RIVALS=1.
func TestWhatBecomesOfACommandBesideEtcdctl(t *testing.T) {
	t.Parallel()
	if os.Getenv("CONCLAVE_RIVALS") != "1" {
		t.Skip("set CONCLAVE_RIVALS=1 to measure other programs")
	}
	etcdctl, err := exec.LookPath("etcdctl")
	require.NoError(t, err)
	for fault, strike := range map[string]func(t *testing.T, r *rival){
		"network cut":     func(_ *testing.T, r *rival) { r.net.Cut() },
		"program stopped": func(t *testing.T, r *rival) { t.Helper(); r.send(t, syscall.SIGSTOP) },
		"program killed":  func(t *testing.T, r *rival) { t.Helper(); r.send(t, syscall.SIGKILL) },
		"program gets SIGTERM": func(t *testing.T, r *rival) {
			t.Helper()
			r.send(t, syscall.SIGTERM)
		},
		"lease revoked": func(t *testing.T, r *rival) { t.Helper(); r.revoke(t) },
	} {
		for name, args := range map[string][]string{
			"conclave lock": {binary, "lock", "--ttl", strconv.Itoa(rivalTTL), "a", "--"},
			"etcdctl lock":  {etcdctl, "lock", "--ttl", strconv.Itoa(rivalTTL), "a", "--"},
		} {
			t.Run(fault+"/"+name, func(t *testing.T) {
				t.Parallel()
				c := etcdtest.New(t, etcdtest.WithControl())
				r := &rival{p: newProgram(t).via(c.Endpoints()...), net: c.Net(t), args: args}
				r.task = r.start(t, r.net.Endpoints()[0], "sh", "-c", beating)
				r.task.says("ready")
				strike(t, r)
				next := r.next(t)
				if next.IsZero() {
					fmt.Printf("%-20s  %-13s  keeps the lock\n", fault, name)
					return
				}
				select { // what is measured is what happens in that time
				case <-time.After(rivalWatch):
				case <-t.Context().Done():
				}
				fmt.Printf("%-20s  %-13s  command %s; child %s\n", fault, name, r.against(t, "command", next), r.against(t, "child", next))
			})
		}
	}
}

// rival is a program that runs a command under a lock.
type rival struct {
	p    *program
	net  *etcdtest.Net
	args []string
	task *task
}

func (r *rival) start(t *testing.T, endpoint string, command ...string) *task {
	t.Helper()
	cmd := r.p.via(endpoint).command()
	cmd.Path, cmd.Args = r.args[0], append(append([]string{}, r.args...), command...)
	k := launch(t, cmd)
	t.Cleanup(func() { _ = exec.Command("pkill", "-KILL", "-s", strconv.Itoa(cmd.Process.Pid)).Run() })
	return k
}

func (r *rival) send(t *testing.T, s syscall.Signal) {
	t.Helper()
	send(t, r.task.Process.Pid, s)
}

// revoke takes the lease away, as an operator would.
func (r *rival) revoke(t *testing.T) {
	t.Helper()
	client := r.p.client()
	leases, err := client.Leases(t.Context())
	require.NoError(t, err)
	for _, l := range leases.Leases {
		_, err := client.Revoke(context.Background(), l.ID)
		require.NoError(t, err)
	}
}

// next returns when the next one has the lock, the zero time if that takes much longer than the TTL.
func (r *rival) next(t *testing.T) time.Time {
	t.Helper()
	k := r.start(t, r.p.endpoints, "sh", "-c", "date +%s%N; sleep 60")
	for end := time.After(3 * rivalTTL * time.Second); !strings.Contains(k.stdout.String(), "\n"); {
		select {
		case <-end:
			return time.Time{}
		case <-time.After(poll):
		}
	}
	return instant(t, k.stdout.String())
}

func instant(t *testing.T, text string) time.Time {
	t.Helper()
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	require.NoError(t, err)
	return time.Unix(0, n)
}

// against says when somebody gave the last sign of life.
func (r *rival) against(t *testing.T, who string, next time.Time) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.p.dir, who))
	require.NoError(t, err)
	switch last := instant(t, string(text)); {
	case time.Since(last) < beats:
		return fmt.Sprintf("runs on, %.0f s after the next began", time.Since(next).Seconds())
	case last.Before(next):
		return fmt.Sprintf("ended %.1f s before the next began", next.Sub(last).Seconds())
	default:
		return fmt.Sprintf("ended %.1f s after the next began", last.Sub(next).Seconds())
	}
}
