//go:build unix

package redlock_test

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/proctest"
	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

func init() { roles["redlock"] = program } //nolint:gochecknoinits // where there are signals

// program does what the first program with this package does: it works under the lock until
// it is asked to end, but for a node timeout that a busy machine does not reach. Its arguments are
// the addresses of the nodes.
func program(ctx context.Context, line *proctest.Line, addrs []string) (err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	var clients []redis.UniversalClient
	for _, addr := range addrs {
		clients = append(clients, redis.NewClient(&redis.Options{Addr: addr}))
	}
	nodes, err := redlock.NewNodes(clients, redlock.WithTTL(calm), redlock.WithNodeTimeout(patient))
	if err != nil {
		return err
	}
	defer func() {
		_ = nodes.Close(ctx)
		line.Say("closed")
	}()
	mutex, err := redlock.NewMutex(nodes, name)
	if err != nil {
		return err
	}
	return mutex.Do(ctx, func(ctx context.Context, _ *redlock.Hold) error {
		line.Say("pid", os.Getpid())
		<-ctx.Done()
		return nil
	})
}

// terminate sends SIGTERM to a process that has said its pid.
func terminate(t *testing.T, said string) {
	t.Helper()
	var pid int
	for _, digit := range strings.TrimPrefix(said, "pid ") {
		pid = 10*pid + int(digit-'0')
	}
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
}

// The TTL is so long that whoever waits for it fails the test.
func TestAProgramThatIsTerminatedHandsItsLockOver(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		onBoth(t, n, func(t *testing.T, c *redistest.Cluster) {
			var addrs []string
			for _, node := range c.Nodes() {
				addrs = append(addrs, node.Addr())
			}
			holder := proctest.Start(t, "redlock", addrs...)
			said := holder.Says(t, "pid")
			next := newPeer(t, c).queueUp(guarded(t), t, c, name)
			terminate(t, said)
			holder.Says(t, "closed")
			unlock(t, granted(t, next))
			awaitHeld(t, c, name, 0)
		})
	}
}

// Nothing is given back, and the process ends all the same.
func TestAProgramThatIsTerminatedWhileRedisIsCutOffEnds(t *testing.T) {
	t.Parallel()
	c := redistest.NewEmbedded(t, 3)
	net := c.Net(t)
	var addrs []string
	for i := range 3 {
		addrs = append(addrs, net.To(i).Addr())
	}
	p := proctest.Start(t, "redlock", addrs...)
	said := p.Says(t, "pid")
	for i := range 3 {
		net.To(i).Blackhole()
	}
	terminate(t, said)
	p.Says(t, "closed")
	require.Positive(t, held(t, c, name))
}
