package concurrency_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// Each in what it may read; and refused, not left to wait or told that it leads, where it may not
// see who is before it.
func TestUsersCampaignAndLockWhereTheyMayRead(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.EnableAuth(guarded(t)))
	prefixes := map[string]string{"one": "/foo1", "two": "/bar1"}
	for user, prefix := range prefixes {
		require.NoError(t, c.AddUser(guarded(t), user, "password", prefix))
	}
	for user, prefix := range prefixes {
		s := newSession(t, c.Client(t, etcdtest.WithUser(user, "password")))
		e, m := concurrency.NewElection(s, prefix+"/e"), concurrency.NewMutex(s, prefix+"/m")
		require.NoError(t, e.Campaign(guarded(t), user))
		require.NoError(t, m.Lock(guarded(t)))
		leader, err := e.Leader(guarded(t))
		require.NoError(t, err)
		require.Equal(t, user, string(leader.Kvs[0].Value))
		require.NoError(t, e.Resign(guarded(t)))
		require.NoError(t, m.Unlock(guarded(t)))
		for other, theirs := range prefixes {
			if other == user {
				continue
			}
			require.ErrorIs(t, concurrency.NewElection(s, theirs+"/e").Campaign(guarded(t), user), rpctypes.ErrPermissionDenied)
			require.ErrorIs(t, concurrency.NewMutex(s, theirs+"/m").Lock(guarded(t)), rpctypes.ErrPermissionDenied)
			require.ErrorIs(t, concurrency.NewMutex(s, theirs+"/m").TryLock(guarded(t)), rpctypes.ErrPermissionDenied)
			_, err = concurrency.NewSTM(s.Client(), func(s concurrency.STM) error { s.Put("mine", s.Get(theirs)); return nil })
			require.ErrorIs(t, err, rpctypes.ErrPermissionDenied)
		}
	}
}
