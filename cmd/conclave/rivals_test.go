//go:build linux

package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
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
	"github.com/conclave-go/conclave/internal/netfault"
)

// beating is a command that says every 50 ms that it runs, with a child that does so too and heeds no SIGTERM.
const beating = `
	sh -c 'trap "" TERM; while :; do date +%s%N >child.new; mv child.new child; sleep 0.05; done' &
	while [ ! -s child ]; do sleep 0.02; done
	date +%s%N >command
	echo ready
	while :; do date +%s%N >command.new; mv command.new command; sleep 0.05; done`

const (
	// rivalTTL is what the programs on etcd are given, in seconds.
	rivalTTL = 5
	// rivalWait is how long the next waits for the lock: consul takes two TTLs of 15 s and a delay of 15 s.
	rivalWait = time.Minute
	// rivalWatch is how long what is left of a command is watched once the next has the lock.
	rivalWatch = 8 * time.Second
	// beats is by how much a command's last sign of life can be late.
	beats = 200 * time.Millisecond
)

// TestWhatBecomesOfACommandBesideOthers measures the table in docs/cli.md. It wants etcdctl in the PATH,
// CONCLAVE_RIVALS=1, and has consul beside them if that is in the PATH.
func TestWhatBecomesOfACommandBesideOthers(t *testing.T) {
	t.Parallel()
	if os.Getenv("CONCLAVE_RIVALS") != "1" {
		t.Skip("set CONCLAVE_RIVALS=1 to measure other programs")
	}
	etcdctl, err := exec.LookPath("etcdctl")
	require.NoError(t, err)
	rivals := map[string]func(t *testing.T) *rival{"conclave lock": onEtcd(binary), "etcdctl lock": onEtcd(etcdctl)}
	if consul, err := exec.LookPath("consul"); err == nil {
		rivals["consul lock"] = onConsul(consul)
	}
	for fault, strike := range map[string]func(t *testing.T, r *rival){
		"network cut":          func(_ *testing.T, r *rival) { r.cut() },
		"program stopped":      func(t *testing.T, r *rival) { t.Helper(); r.send(t, syscall.SIGSTOP) },
		"program killed":       func(t *testing.T, r *rival) { t.Helper(); r.send(t, syscall.SIGKILL) },
		"program gets SIGTERM": func(t *testing.T, r *rival) { t.Helper(); r.send(t, syscall.SIGTERM) },
		"lease revoked":        func(t *testing.T, r *rival) { t.Helper(); r.revoke(t) },
	} {
		for name, begin := range rivals {
			t.Run(fault+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := begin(t)
				r.task = r.start(t, r.line, "sh", "-c", beating)
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
	p *program
	// args is the command line, up to what is to be run, of one that goes to a server.
	args func(server string) []string
	// server is where it is, line the way there that cut cuts.
	server, line string
	cut          func()
	revoke       func(t *testing.T) // takes the lease away, as an operator would
	task         *task
}

func onEtcd(path string) func(t *testing.T) *rival {
	return func(t *testing.T) *rival {
		t.Helper()
		c := etcdtest.New(t, etcdtest.WithControl())
		net := c.Net(t)
		p := newProgram(t).via(c.Endpoints()...)
		return &rival{
			p: p, server: p.endpoints, line: net.Endpoints()[0], cut: net.Cut,
			args: func(string) []string { return []string{path, "lock", "--ttl", strconv.Itoa(rivalTTL), "a", "--"} },
			revoke: func(t *testing.T) {
				t.Helper()
				client := p.client()
				leases, err := client.Leases(t.Context())
				require.NoError(t, err)
				for _, l := range leases.Leases {
					_, err := client.Revoke(context.Background(), l.ID)
					require.NoError(t, err)
				}
			},
		}
	}
}

// onConsul is for consul, whose agent keeps everything in memory.
func onConsul(path string) func(t *testing.T) *rival {
	return func(t *testing.T) *rival {
		t.Helper()
		ports := freePorts(t, 3)
		agent := exec.CommandContext(t.Context(), path, "agent", "-dev", "-bind=127.0.0.1", "-http-port="+ports[0], "-server-port="+ports[1],
			"-serf-lan-port="+ports[2], "-serf-wan-port=-1", "-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1", "-log-level=err")
		require.NoError(t, agent.Start())
		t.Cleanup(func() { _ = agent.Process.Kill(); _ = agent.Wait() })
		server := "127.0.0.1:" + ports[0]
		proxy, err := netfault.Start(server)
		require.NoError(t, err)
		t.Cleanup(func() { _ = proxy.Close() })
		require.Eventually(t, func() bool {
			out, err := exec.CommandContext(t.Context(), path, "kv", "put", "-http-addr="+server, "ready", "1").CombinedOutput()
			return err == nil && strings.Contains(string(out), "Success")
		}, rivalWait, rivalWait/100)
		return &rival{
			p: newProgram(t), server: server, line: proxy.Addr(), cut: proxy.Blackhole,
			args: func(server string) []string {
				return []string{path, "lock", "-http-addr=" + server, "-shell=false", "a"}
			},
			revoke: func(t *testing.T) {
				t.Helper()
				for _, id := range sessions(t, server) {
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+server+"/v1/session/destroy/"+id, nil)
					require.NoError(t, err)
					resp, err := http.DefaultClient.Do(req)
					require.NoError(t, err)
					require.NoError(t, resp.Body.Close())
				}
			},
		}
	}
}

// sessions are the IDs of consul's sessions.
func sessions(t *testing.T, server string) (ids []string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+server+"/v1/session/list", nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	var all []struct{ ID string }
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&all))
	for _, s := range all {
		ids = append(ids, s.ID)
	}
	return ids
}

// freePorts returns ports that nobody listens on, all different.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	listeners := make([]net.Listener, n)
	for i := range listeners {
		var err error
		listeners[i], err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
	}
	for _, l := range listeners {
		_, port, err := net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		require.NoError(t, l.Close())
		ports = append(ports, port)
	}
	return ports
}

func (r *rival) start(t *testing.T, server string, command ...string) *task {
	t.Helper()
	cmd := r.p.via(server).command()
	args := append(r.args(server), command...)
	cmd.Path, cmd.Args = args[0], args
	k := launch(t, cmd)
	t.Cleanup(func() { _ = exec.Command("pkill", "-KILL", "-s", strconv.Itoa(cmd.Process.Pid)).Run() })
	return k
}

func (r *rival) send(t *testing.T, s syscall.Signal) {
	t.Helper()
	send(t, r.task.Process.Pid, s)
}

// next returns when the next one has the lock, the zero time if that takes too long.
func (r *rival) next(t *testing.T) time.Time {
	t.Helper()
	k := r.start(t, r.server, "sh", "-c", "date +%s%N; sleep 60")
	for end := time.After(rivalWait); !strings.Contains(k.stdout.String(), "\n"); {
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
