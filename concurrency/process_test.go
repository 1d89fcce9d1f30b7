package concurrency_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/proctest"
)

// holder is the role of a process that locks a mutex. To each line that it is told it answers
// whether its session is over.
func holder(ctx context.Context, line *proctest.Line, args []string) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: args[:1], Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	session, err := concurrency.NewSession(client, concurrency.WithTTL(6))
	if err != nil {
		return err
	}
	if err := concurrency.NewMutex(session, args[1]).Lock(ctx); err != nil {
		return err
	}
	line.Say("locked")
	for {
		select {
		case <-line.Told():
		case <-ctx.Done():
			return nil
		}
		over := session.Ctx().Err() != nil
		select {
		case <-session.Done():
		default:
			over = false
		}
		line.Say("over", over)
	}
}

// The other library's session notices up to a second after it has woken up.
func TestASessionThatIsAskedAfterAPauseKnowsThatItIsOver(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p := proctest.Start(t, "holder", c.Endpoints()[0], "m")
	p.Says(t, "locked")
	p.Tell(t, "")
	p.Says(t, "over false")
	m := newMember(t, c)
	mutex := concurrency.NewMutex(m.Session, "m")
	done := m.waiting(t, func() error { return mutex.Lock(guarded(t)) })
	p.Stop(t)
	p.Tell(t, "") // what it does first when it wakes up
	requireSuccess(t, done)
	p.Continue(t)
	p.Says(t, "over true")
	require.NoError(t, mutex.Unlock(guarded(t)))
}
