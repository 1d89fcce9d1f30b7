//go:build unix

package lock_test

import (
	"context"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/proctest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// roles are what processes of these tests do.
var roles = proctest.Roles{"terminated": terminated}

// terminated holds a lock as the program of README does, until it is terminated: told to, it terminates itself.
func terminated(ctx context.Context, line *proctest.Line, args []string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	client, err := clientv3.New(clientv3.Config{Endpoints: args[:1], Context: context.WithoutCancel(ctx)})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	session, err := lease.NewSession(ctx, client, lease.WithTTL(calm))
	if err != nil {
		return err
	}
	go func() {
		<-line.Told()
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGTERM)
	}()
	defer line.Say("over")
	defer func() { _ = session.Close(ctx) }()
	mutex, err := lock.NewMutex(session, args[1])
	if err != nil {
		return err
	}
	return mutex.Do(ctx, func(ctx context.Context, _ *lock.Hold) error {
		line.Say("held")
		<-ctx.Done()
		return nil
	})
}

// Its lease would keep others out for two minutes, the test's patience is much shorter.
func TestAProcessThatIsTerminatedHandsItsLockOver(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	process := proctest.Start(t, "terminated", c.Endpoints()[0], name)
	process.Says(t, "held")
	waiter, _ := p.queueUp(guarded(t), t, name)
	began := time.Now()
	process.Tell(t, "end")
	next := granted(t, waiter)
	require.Less(t, time.Since(began), calm/2, "handed over, not expired")
	unlock(t, next)
	process.Says(t, "over")
}

func TestAProcessThatIsTerminatedEndsAlthoughItsServerDoesNotAnswer(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	net := c.Net(t)
	process := proctest.Start(t, "terminated", net.Endpoints()[0], c.Prefix(t)+"m")
	process.Says(t, "held")
	net.Cut()
	process.Tell(t, "end")
	process.Says(t, "over")
}
