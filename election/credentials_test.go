package election_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	zapobserver "go.uber.org/zap/zaptest/observer"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestObserversWithCredentialsThatHaveNeverWorkedAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.EnableAuth(guarded(t)))
	require.NoError(t, c.AddUser(guarded(t), "user", "password", "theirs/"))
	root := c.Client(t, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword))
	client := c.Client(t, etcdtest.WithUser("user", "password"))
	_, err := root.UserChangePassword(guarded(t), "user", "another")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.ErrorIs(t, observe(ctx, t, client, "theirs/e").fails(t), rpctypes.ErrAuthFailed)
	_, err = election.Current(ctx, client, "theirs/e")
	require.ErrorIs(t, err, rpctypes.ErrAuthFailed)
}

func TestObserversGoOnWhenTheirCredentialsAreRightAgain(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.EnableAuth(guarded(t)))
	require.NoError(t, c.AddUser(guarded(t), "user", "password", "theirs/"))
	root := c.Client(t, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword))
	net := c.Net(t)
	core, logged := zapobserver.New(zap.WarnLevel)
	client := c.Client(t, etcdtest.WithUser("user", "password"), etcdtest.ViaNet(net), etcdtest.WithFastReconnect(),
		etcdtest.WithConfig(func(cfg *clientv3.Config) { cfg.Logger = zap.New(core) }))
	o := observe(t.Context(), t, client, "theirs/e")
	o.next(t, "")
	put(t, root, "theirs/e/~election/1", `{"value":"a"}`)
	o.next(t, "a")
	_, err := root.UserChangePassword(guarded(t), "user", "another")
	require.NoError(t, err)
	net.Reset()
	put(t, root, "theirs/e/~election/1", `{"value":"b"}`)
	put(t, root, "theirs/e/~election/1", `{"value":"c"}`)
	eventually(t, func() bool { return logged.FilterMessageSnippet("trying on").Len() > 0 }, "a warning")
	require.Empty(t, o.seen)
	_, err = root.UserChangePassword(guarded(t), "user", "password")
	require.NoError(t, err)
	o.next(t, "b")
	o.next(t, "c") // nothing was missed

	// And if history is gone by then, the state.
	_, err = root.UserChangePassword(guarded(t), "user", "another")
	require.NoError(t, err)
	net.Reset()
	for _, value := range []string{"d", "e"} {
		put(t, root, "theirs/e/~election/1", `{"value":"`+value+`"}`)
	}
	_, err = root.Compact(guarded(t), put(t, root, "theirs/k", ""))
	require.NoError(t, err)
	_, err = root.UserChangePassword(guarded(t), "user", "password")
	require.NoError(t, err)
	o.next(t, "e")
}
