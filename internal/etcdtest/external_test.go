package etcdtest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// These tests set the environment, so they are not parallel.

func TestNewUsesTheExternalClusterUnlessControlIsNeeded(t *testing.T) {
	server := etcdtest.New(t, etcdtest.WithControl())
	t.Setenv(etcdtest.EndpointsVariable, "http://"+strings.Join(server.Endpoints(), ", http://"))

	c := etcdtest.New(t)
	require.True(t, c.External())
	require.Equal(t, server.Endpoints(), c.Endpoints())
	requireWrites(t, c.Client(t), "k")
	requireValue(t, server.Client(t), "k", "v")
	require.Equal(t, time.Second, c.MinTTL(t))
	require.NoError(t, c.Close())
	require.True(t, server.Running(0))

	require.False(t, etcdtest.New(t, etcdtest.WithControl()).External())
	require.False(t, etcdtest.New(t, etcdtest.WithMembers(3)).External())
	require.True(t, etcdtest.New(t, etcdtest.WithMembers(1)).External())
}

func TestExternalClusterIsNotControlled(t *testing.T) {
	server := etcdtest.New(t, etcdtest.WithControl())
	t.Setenv(etcdtest.EndpointsVariable, server.Endpoints()[0])
	c := etcdtest.New(t)
	ctx := guarded(t)

	for name, call := range map[string]func() error{
		"Stop":       func() error { return c.Stop(ctx, 0) },
		"Kill":       func() error { return c.Kill(0) },
		"Restart":    func() error { return c.Restart(ctx, 0) },
		"CutLink":    func() error { return c.CutLink(0, 0) },
		"Isolate":    func() error { return c.Isolate(0) },
		"MoveLeader": func() error { return c.MoveLeader(ctx) },
		"WaitLeader": func() error { _, err := c.WaitLeader(ctx); return err },
		"Compact":    func() error { return c.Compact(ctx) },
		"EnableAuth": func() error { return c.EnableAuth(ctx) },
		"AddUser":    func() error { return c.AddUser(ctx, "u", "p", "x/") },
	} {
		require.ErrorIs(t, call(), etcdtest.ErrExternal, name)
	}
	require.Equal(t, -1, c.Leader())
	require.True(t, c.Running(0))
	require.Nil(t, c.Etcd(0))
}

func TestPrefixIsCleanedOnAnExternalCluster(t *testing.T) {
	server := etcdtest.New(t, etcdtest.WithControl())
	t.Setenv(etcdtest.EndpointsVariable, server.Endpoints()[0])

	var prefix string
	require.True(t, t.Run("user", func(t *testing.T) {
		c := etcdtest.New(t)
		prefix = c.Prefix(t)
		requireWrites(t, c.Client(t), prefix+"k")
	}))
	resp, err := server.Client(t).Get(guarded(t), prefix, clientv3.WithPrefix())
	require.NoError(t, err)
	require.Empty(t, resp.Kvs)
}
