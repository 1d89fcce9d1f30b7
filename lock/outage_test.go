package lock_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// A client of etcd waits longer after each connection that is refused, in the end for two minutes.
func TestALockIsGrantedSoonAfterAnOutageOfMinutes(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		session, err := lease.NewSession(t.Context(), s.Client())
		require.NoError(t, err)
		mutex, err := lock.NewMutex(session, "m")
		require.NoError(t, err)
		hold, err := mutex.Lock(t.Context())
		require.NoError(t, err)
		s.Stop()
		vtime.Advance(200 * time.Second)
		require.ErrorIs(t, hold.Err(), lease.ErrLost)
		s.Start()
		// What the old lease holds ends with it: the server begins its TTL anew.
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		hold, err = mutex.Lock(ctx)
		require.NoError(t, err)
		require.NoError(t, hold.Unlock(t.Context()))
		require.NoError(t, session.Close(t.Context()))
	})
}
