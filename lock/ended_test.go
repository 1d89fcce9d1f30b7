package lock_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/lock"
)

func TestALeaseThatEndsWithTheAnswerGrantsNothing(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := peertest.New(t, c)
	mutex, err := lock.NewMutex(p.Session, c.Prefix(t)+"m")
	require.NoError(t, err)
	l, err := p.Session.Lease(peertest.Guarded(t))
	require.NoError(t, err)

	enqueues := 0
	p.Rec.Hook("Txn", func(ctx context.Context, _ any, invoke func() error) error {
		err := invoke()
		if enqueues++; enqueues == 1 { // the lock is free: this would be the grant
			done, cancel := context.WithCancel(ctx)
			cancel()
			require.NoError(t, l.Close(done)) // here at once, at the server within the grace
		}
		return err
	})
	hold, err := mutex.Lock(peertest.Guarded(t))
	require.NoError(t, err)
	require.NoError(t, hold.Err(), "a hold that is over is not returned")
	require.NoError(t, hold.Unlock(peertest.Guarded(t)))
	require.Greater(t, enqueues, 1)
}
