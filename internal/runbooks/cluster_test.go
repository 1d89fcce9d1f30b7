package runbooks_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/conclave-go/conclave/internal/attempt"
)

// hang bounds what should have happened long before.
const hang = 5 * time.Minute

// tryTimeout bounds one attempt of a request.
const tryTimeout = 10 * time.Second

// cluster is a set of members as processes, with a folder for what a run-book makes.
type cluster struct {
	t       *testing.T
	bin     string
	dir     string
	members []*member
	auth    bool
}

// member is one etcd, in a folder of its own.
type member struct {
	name, client, peer, data string
	process                  *exec.Cmd
	log                      *os.File
}

// newCluster makes members without starting them.
func newCluster(t *testing.T, bin string, size int, auth bool) *cluster {
	t.Helper()
	c := &cluster{t: t, bin: bin, dir: t.TempDir(), auth: auth}
	for i := range size {
		c.add(fmt.Sprintf("m%d", i+1))
	}
	t.Cleanup(c.stop)
	return c
}

func (c *cluster) add(name string) *member {
	c.t.Helper()
	m := &member{name: name, client: "http://" + freeAddress(), peer: "http://" + freeAddress(), data: filepath.Join(c.dir, name)}
	c.members = append(c.members, m)
	return m
}

// lastPort counts the ports that were taken.
var lastPort atomic.Int64

// freeAddress returns an address that nobody listens on. It is below the ephemeral ranges, and away
// from those of etcdtest and redistest: the kernel gives it to nobody while its member is down.
func freeAddress() string {
	for {
		addr := fmt.Sprintf("127.0.0.1:%d", 8_000+int64(os.Getpid()%2_000)+lastPort.Add(1))
		if l, err := net.Listen("tcp", addr); err == nil { //nolint:noctx // it listens at once
			_ = l.Close()
			return addr
		}
	}
}

// initial returns the members as --initial-cluster wants them.
func (c *cluster) initial() string {
	var all []string
	for _, m := range c.members {
		all = append(all, m.name+"="+m.peer)
	}
	return strings.Join(all, ",")
}

func (c *cluster) endpoints() string {
	var all []string
	for _, m := range c.members {
		all = append(all, m.client)
	}
	return strings.Join(all, ",")
}

// start starts a member with the usual flags, and others.
func (c *cluster) start(m *member, flags ...string) {
	c.t.Helper()
	var err error
	m.log, err = os.OpenFile(filepath.Join(c.dir, m.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(c.t, err)
	args := append([]string{
		"--name", m.name, "--data-dir", m.data, "--unsafe-no-fsync", "--heartbeat-interval=20", "--election-timeout=200",
		"--listen-client-urls", m.client, "--advertise-client-urls", m.client,
		"--listen-peer-urls", m.peer, "--initial-advertise-peer-urls", m.peer,
	}, flags...)
	m.process = exec.CommandContext(context.WithoutCancel(c.t.Context()), filepath.Join(c.bin, "server"), args...)
	m.process.Stdout, m.process.Stderr = m.log, m.log
	dieWithParent(m.process)
	require.NoError(c.t, m.process.Start())
}

// startAll starts all members and waits until they serve.
func (c *cluster) startAll() {
	c.t.Helper()
	for _, m := range c.members {
		c.start(m, "--initial-cluster", c.initial())
	}
	for _, m := range c.members {
		c.awaitMember(m)
	}
}

// awaitMember waits until a member answers a read through the quorum.
func (c *cluster) awaitMember(m *member) {
	c.t.Helper()
	client := c.connect(m.client)
	ctx, cancel := context.WithTimeout(c.t.Context(), hang)
	defer cancel()
	for {
		_, err := client.Get(ctx, "any")
		if err == nil {
			return
		}
		log, _ := os.ReadFile(filepath.Join(c.dir, m.name+".log"))
		require.NoError(c.t, ctx.Err(), "%s does not serve: %v\n%s", m.name, err, log)
	}
}

// connect returns root's client of some endpoints.
func (c *cluster) connect(endpoints string) *clientv3.Client { return c.connectAs("root", endpoints) }

func (c *cluster) connectAs(user, endpoints string) *clientv3.Client {
	c.t.Helper()
	cfg := clientv3.Config{Endpoints: strings.Split(endpoints, ","), Logger: zap.NewNop()}
	if c.auth {
		cfg.Username, cfg.Password = user, "secret"
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), hang)
	defer cancel()
	for {
		client, err := clientv3.New(cfg)
		if err == nil {
			c.t.Cleanup(func() { _ = client.Close() })
			return client
		}
		require.NoError(c.t, ctx.Err(), err)
	}
}

// kill ends a member as a crash does.
func (c *cluster) kill(m *member) {
	if m.process == nil {
		return
	}
	_ = m.process.Process.Kill()
	_ = m.process.Wait()
	_ = m.log.Close()
	m.process = nil
}

// terminate asks a member to end, and waits until it has.
func (c *cluster) terminate(m *member) {
	c.t.Helper()
	require.NoError(c.t, m.process.Process.Signal(syscall.SIGTERM))
	_ = m.process.Wait() // etcd ends with the signal
	_ = m.log.Close()
	m.process = nil
}

func (c *cluster) stop() {
	for _, m := range c.members {
		c.kill(m)
	}
}

// leaderless is what etcdctl says while there is no leader, as may be at any time on a busy machine.
var leaderless = []string{"leader changed", "no leader", "request timed out", "proposal dropped", "context deadline exceeded"}

// run runs commands of the page, until they succeed if they fail for want of a leader, or so that the
// page says to repeat them. It returns what they print.
func (c *cluster) run(commands string, variables map[string]string, passing ...string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), hang)
	defer cancel()
	for {
		out, err := c.try(commands, variables)
		if err == nil || strings.Contains(out, "member not found") { // an attempt that seemed to fail has removed it
			return out
		}
		known := slices.ContainsFunc(append(passing, leaderless...), func(what string) bool { return strings.Contains(out, what) })
		require.True(c.t, known && ctx.Err() == nil, "%s\n%s", commands, out)
	}
}

func (c *cluster) try(commands string, variables map[string]string) (string, error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), hang)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", commands)
	cmd.Dir = c.dir
	cmd.Env = []string{
		"PATH=" + c.bin + ":" + os.Getenv("PATH"), "HOME=" + c.dir, "ETCDCTL_ENDPOINTS=" + c.endpoints(),
		"ETCDCTL_COMMAND_TIMEOUT=1m",
	} // 5 s by default, in which a busy machine may elect no leader
	if c.auth {
		cmd.Env = append(cmd.Env, "ETCDCTL_USER=root", "ETCDCTL_PASSWORD=secret")
	}
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		cmd.Env = append(cmd.Env, name+"="+variables[name]) // the last one counts
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out) + stderr.String(), err
	}
	return string(out), nil
}

// enableAuth makes root, and a user who may use the lock job/m.
func (c *cluster) enableAuth() {
	c.t.Helper()
	client := c.connect(c.endpoints())
	ctx, cancel := context.WithTimeout(c.t.Context(), hang)
	defer cancel()
	for _, step := range []func(ctx context.Context) error{
		func(ctx context.Context) error { _, err := client.RoleAdd(ctx, "locker"); return err },
		func(ctx context.Context) error {
			_, err := client.RoleGrantPermission(ctx, "locker", "job/m/", clientv3.GetPrefixRangeEnd("job/m/"), clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func(ctx context.Context) error { _, err := client.UserAdd(ctx, "locker", "secret"); return err },
		func(ctx context.Context) error { _, err := client.UserGrantRole(ctx, "locker", "locker"); return err },
		func(ctx context.Context) error { _, err := client.UserAdd(ctx, "root", "secret"); return err },
		func(ctx context.Context) error { _, err := client.UserGrantRole(ctx, "root", "root"); return err },
		func(ctx context.Context) error { _, err := client.AuthEnable(ctx); return err },
	} {
		require.NoError(c.t, attempt.Do(ctx, tryTimeout, func(ctx context.Context) error {
			err := step(ctx)
			for _, done := range []error{rpctypes.ErrRoleAlreadyExist, rpctypes.ErrUserAlreadyExist, rpctypes.ErrUserEmpty} {
				if errors.Is(err, done) {
					return nil // by an attempt that seemed to fail
				}
			}
			return err
		}))
	}
	c.auth = true
}

// lines returns the lines of an output that are not empty.
func lines(out string) (all []string) {
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}
