//go:build unix

package lease_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

// processes is an etcd cluster of three processes, which can be stopped by signals.
type processes struct {
	members []*exec.Cmd
	clients []*clientv3.Client // one per member
}

func startProcesses(t *testing.T) *processes {
	t.Helper()
	const size = 3
	var addrs []string
	var listeners []net.Listener
	for range 2 * size {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		addrs, listeners = append(addrs, "http://"+l.Addr().String()), append(listeners, l)
	}
	for _, l := range listeners {
		require.NoError(t, l.Close())
	}
	var initial []string
	for i := range size {
		initial = append(initial, fmt.Sprintf("m%d=%s", i, addrs[size+i]))
	}
	c := &processes{}
	dir := t.TempDir()
	for i := range size {
		name := fmt.Sprintf("m%d", i)
		cmd := exec.Command(os.Args[0])
		spec := []string{filepath.Join(dir, name), addrs[i], name, strings.Join(initial, ",")}
		cmd.Env = append(os.Environ(), memberVariable+"="+strings.Join(spec, " "))
		cmd.Stderr = os.Stderr
		require.NoError(t, cmd.Start())
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // works on a stopped process, too
			_ = cmd.Wait()         // "signal: killed"
		})
		c.members = append(c.members, cmd)
		c.clients = append(c.clients, c.client(t, addrs[i]))
	}
	for _, client := range c.clients {
		eventually(t, func() bool { return c.term(t, client) > 0 }, "a leader")
	}
	return c
}

func (c *processes) client(t *testing.T, endpoint string, rec ...*etcdtest.Recorder) *clientv3.Client {
	t.Helper()
	cfg := clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: guard, Logger: zap.NewNop()}
	for _, r := range rec {
		cfg.DialOptions = r.DialOptions()
	}
	client, err := clientv3.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// status is what a member says of itself; nil when it does not answer.
func (c *processes) status(t *testing.T, client *clientv3.Client) *clientv3.StatusResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	resp, err := client.Status(ctx, client.Endpoints()[0])
	if err != nil {
		return nil
	}
	return resp
}

// term is the term of the leader that a member follows, 0 if it has none.
func (c *processes) term(t *testing.T, client *clientv3.Client) uint64 {
	t.Helper()
	if s := c.status(t, client); s != nil && s.Leader != 0 {
		return s.RaftTerm
	}
	return 0
}

func (c *processes) leader(t *testing.T) int {
	t.Helper()
	leader := -1
	eventually(t, func() bool {
		for i, client := range c.clients {
			if s := c.status(t, client); s != nil && s.Leader == s.Header.MemberId {
				leader = i
				return true
			}
		}
		return false
	}, "a leader")
	return leader
}

// stop returns when the member's process has stopped.
func (c *processes) stop(t *testing.T, i int) {
	t.Helper()
	process := c.members[i].Process
	t.Cleanup(func() { _ = process.Signal(syscall.SIGCONT) }) // for clean-ups that need it, after a failure
	require.NoError(t, process.Signal(syscall.SIGSTOP))
	var status syscall.WaitStatus
	_, err := syscall.Wait4(process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(t, err)
	require.True(t, status.Stopped())
}

func (c *processes) resume(t *testing.T, i int) {
	t.Helper()
	require.NoError(t, c.members[i].Process.Signal(syscall.SIGCONT))
}

// A leader stopped for longer than its election timeout finds, when it goes on, the
// renewal that has come in meanwhile, and as a rule acknowledges it before it has
// heard that it was deposed.
func TestARenewalAcknowledgedByAStoppedLeaderDoesNotCount(t *testing.T) {
	t.Parallel()
	const tries = 30
	c := startProcesses(t)
	for try := range tries {
		if c.stopLeaderDuringRenewal(t) {
			t.Logf("witnessed at try %d", try+1)
			return
		}
	}
	t.Skipf("in %d tries no deposed leader acknowledged anything", tries)
}

// stopLeaderDuringRenewal reports whether the deposed leader acknowledged the
// renewal it got while it was stopped. It fails the test if that has counted.
func (c *processes) stopLeaderDuringRenewal(t *testing.T) bool {
	t.Helper()
	leader := c.leader(t)
	var rec etcdtest.Recorder
	p := newPulse()
	l := newLease(t, c.client(t, c.clients[leader].Endpoints()[0], &rec), lease.WithTTL(20*time.Second), p.observe())
	p.round(t, l)
	before := lastAcknowledgement(&rec).Header.RaftTerm
	deadline := l.Deadline()
	rec.Reset()

	c.stop(t, leader)
	l.Look().Hurry()
	eventually(t, func() bool { return rec.Count("LeaseKeepAlive") == 1 }, "the renewal is sent")
	var now uint64
	eventually(t, func() bool {
		now = c.term(t, c.clients[(leader+1)%3])
		return now > before
	}, "a new leader")
	require.Equal(t, deadline, l.Deadline())
	c.resume(t, leader)
	await(t, p.renewed, "a renewal that counts")
	require.True(t, l.Deadline().After(deadline))

	witnessed := false
	for _, call := range rec.Calls() {
		if resp, ok := call.Response.(*pb.LeaseKeepAliveResponse); ok {
			witnessed = witnessed || resp.Header.RaftTerm < now
		}
	}
	require.GreaterOrEqual(t, lastAcknowledgement(&rec).Header.RaftTerm, now, "the one that counts is of the new term")
	require.NoError(t, l.Close(guarded(t)))
	return witnessed
}
