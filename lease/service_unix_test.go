//go:build unix

package lease_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// serviceVariable makes this test binary the service: it says where etcd is, and the
// prefix of the names.
const serviceVariable = "CONCLAVE_LEASE_SERVICE"

// serve is a program as README shows it, with clientv3's own logger. Its TTL is so long
// that nothing becomes free by itself.
func serve(endpoints []string, prefix string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	session, err := lease.NewSession(ctx, client, lease.WithTTL(calm))
	if err != nil {
		return err
	}
	defer func() { _ = session.Close(ctx) }()
	if _, err := lease.Register(ctx, session, prefix+"service", "here"); err != nil {
		return err
	}
	mutex, err := lock.NewMutex(session, prefix+"job")
	if err != nil {
		return err
	}
	err = mutex.Do(ctx, func(ctx context.Context, _ *lock.Hold) error {
		fmt.Println("ready")
		<-ctx.Done()
		return ctx.Err()
	})
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// playService makes this process the service if it was started as one.
func playService() {
	args, found := os.LookupEnv(serviceVariable)
	if !found {
		return
	}
	endpoints, prefix, _ := strings.Cut(args, " ")
	if err := serve(strings.Split(endpoints, ","), prefix); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// service is a running one.
type service struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	ended  chan error
}

func startService(t *testing.T, endpoints []string, prefix string) *service {
	t.Helper()
	s := &service{cmd: exec.CommandContext(guarded(t), os.Args[0]), ended: make(chan error, 1)}
	s.cmd.Env = append(os.Environ(), serviceVariable+"="+strings.Join(endpoints, ",")+" "+prefix)
	s.cmd.Stderr = &s.stderr
	out, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan(), "it gets ready")
	require.Equal(t, "ready", lines.Text())
	go func() { s.ended <- s.cmd.Wait() }()
	return s
}

// stop tells the service to stop, as supervisors do, and returns when it has.
func (s *service) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, await(t, s.ended, "the service ends"))
}

func TestAProgramThatIsToldToStopHandsOverAndPrintsNothing(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	prefix := c.Prefix(t)
	s := startService(t, c.Endpoints(), prefix)
	op := newOperator(t, c)
	value, _, _ := op.find(t, prefix+"service")
	require.Equal(t, "here", value)

	mutex, err := lock.NewMutex(newSession(t, c.Client(t), lease.WithTTL(calm)), prefix+"job")
	require.NoError(t, err)
	granted := make(chan *lock.Hold, 1)
	ctx := guarded(t)
	go func() {
		if h, err := mutex.Lock(ctx); err == nil {
			granted <- h
		}
	}()
	eventually(t, func() bool {
		resp, err := op.Get(ctx, prefix+"job", clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err == nil && resp.Count == 2
	}, "another waits")
	s.stop(t)
	op.requireNoKey(t, prefix+"service")
	require.NoError(t, await(t, granted, "the next is granted").Unlock(ctx))
	require.Empty(t, s.stderr.String())
}

func TestAProgramThatIsToldToStopWhileCutOffStops(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for name, cut := range map[string]func(*etcdtest.Net){
		"in silence": (*etcdtest.Net).Cut,
		"refused":    func(n *etcdtest.Net) { _ = n.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			net, err := c.NewNet()
			require.NoError(t, err)
			t.Cleanup(func() { _ = net.Close() })
			s := startService(t, net.Endpoints(), c.Prefix(t))
			cut(net)
			s.stop(t)
		})
	}
}
