package concurrency_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// etcdctl is a running `etcdctl lock` or `etcdctl elect`.
type etcdctl struct {
	lines chan string
	cmd   *exec.Cmd
}

// startEtcdctl starts etcdctl, which gives up what it has when it is interrupted.
func startEtcdctl(t *testing.T, c *etcdtest.Cluster, args ...string) *etcdctl {
	t.Helper()
	path, err := exec.LookPath("etcdctl")
	if err != nil {
		t.Skip("there is no etcdctl (Debian: apt install etcd-client)")
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	e := &etcdctl{lines: make(chan string, 100), cmd: exec.CommandContext(ctx, path, args...)}
	e.cmd.Env = append(os.Environ(), "ETCDCTL_API=3", "ETCDCTL_ENDPOINTS="+strings.Join(c.Endpoints(), ","))
	out, err := e.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, e.cmd.Start())
	read := make(chan struct{})
	go func() { // ends with the process
		defer close(read)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			e.lines <- lines.Text()
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	t.Cleanup(func() {
		cancel()
		<-read
		_ = e.cmd.Wait() // it was killed, or interrupted
	})
	return e
}

// interrupt makes it give up.
func (e *etcdctl) interrupt(t *testing.T) {
	t.Helper()
	require.NoError(t, e.cmd.Process.Signal(os.Interrupt))
}

func TestEtcdctlLocksBesideOurs(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, m := c.Prefix(t)+"m", newMember(t, c)
	ours := concurrency.NewMutex(m.Session, name)
	first := startEtcdctl(t, c, "lock", name)
	key := await(t, first.lines, "etcdctl has the lock")
	require.True(t, strings.HasPrefix(key, name+"/"))
	require.Equal(t, concurrency.ErrLocked, ours.TryLock(guarded(t)))
	done := m.waiting(t, func() error { return ours.Lock(guarded(t)) })
	second := startEtcdctl(t, c, "lock", name)
	requirePending(t, done)
	eventually(t, func() bool { return count(t, m, name+"/") == 3 }, "the other etcdctl waits")
	first.interrupt(t)
	requireSuccess(t, done)
	require.Empty(t, second.lines)
	require.NoError(t, ours.Unlock(guarded(t)))
	require.NotEqual(t, key, await(t, second.lines, "the other etcdctl has the lock"))
	second.interrupt(t)
	require.NoError(t, ours.Lock(guarded(t)))
	require.NoError(t, ours.Unlock(guarded(t)))
}

func TestEtcdctlElectsBesideOurs(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, m := c.Prefix(t)+"e", newMember(t, c)
	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	ours := concurrency.NewElection(m.Session, name)
	first := startEtcdctl(t, c, "elect", name, "one")
	require.True(t, strings.HasPrefix(await(t, first.lines, "etcdctl leads"), name+"/"))
	require.Equal(t, "one", await(t, first.lines, "its value"))
	seen := ours.Observe(ctx)
	requireSeen(t, seen, "one")
	done := m.waiting(t, func() error { return ours.Campaign(ctx, "ours") })
	second := startEtcdctl(t, c, "elect", name, "two")
	eventually(t, func() bool { return count(t, m, name+"/") == 3 }, "the other etcdctl waits")
	listener := startEtcdctl(t, c, "elect", "--listen", name)
	await(t, listener.lines, "the leader's key")
	require.Equal(t, "one", await(t, listener.lines, "its value"))
	first.interrupt(t)
	requireSuccess(t, done)
	require.Equal(t, ours.Key(), await(t, listener.lines, "our key"))
	require.Equal(t, "ours", await(t, listener.lines, "our value"))
	require.NoError(t, ours.Proclaim(ctx, "ours again"))
	require.Equal(t, ours.Key(), await(t, listener.lines, "our key"))
	require.Equal(t, "ours again", await(t, listener.lines, "our value"))
	require.NoError(t, ours.Resign(ctx))
	await(t, second.lines, "the other leads")
	require.Equal(t, "two", await(t, second.lines, "its value"))
	requireSeen(t, seen, "two")
	second.interrupt(t)
	listener.interrupt(t)
}

// count returns how many keys begin with a prefix.
func count(t *testing.T, m *member, prefix string) int64 {
	t.Helper()
	resp, err := m.client.Get(guarded(t), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	require.NoError(t, err)
	return resp.Count
}
