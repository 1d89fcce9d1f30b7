package etcdtest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestReplacedMemberIsAnotherAndHasTheData(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	requireWrites(t, c.Client(t), "k")
	for i := range 3 {
		before := c.Etcd(i).Server.MemberID()
		require.NoError(t, c.Replace(guarded(t), i))
		require.NotEqual(t, before, c.Etcd(i).Server.MemberID())
		client := c.Client(t, etcdtest.ViaMember(i))
		requireValue(t, client, "k", "v")
		list, err := client.MemberList(guarded(t))
		require.NoError(t, err)
		require.Len(t, list.Members, 3)
	}
	require.NoError(t, c.Kill(0))
	require.NoError(t, c.Restart(guarded(t), 0), "it is one like the others")
	require.ErrorContains(t, c.Replace(t.Context(), 3), "must be 0 to 2")
}

func TestTokenOfASilentUserExpires(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithTokenTTL(time.Second))
	require.NoError(t, c.EnableAuth(guarded(t)))
	client := c.Client(t, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword))
	requireWrites(t, client, "k")
	// clientv3 logs in again for a Get, but not for a watch on a stream that is open.
	first := <-client.Watch(t.Context(), "a", clientv3.WithCreatedNotify())
	require.NoError(t, first.Err())
	require.Eventually(t, func() bool {
		resp := <-client.Watch(t.Context(), "b", clientv3.WithCreatedNotify())
		return resp.Err() != nil
	}, time.Minute, 2500*time.Millisecond, "each attempt keeps the token alive for another second")
}

func TestTokenTTLMustBeWholeSeconds(t *testing.T) {
	t.Parallel()
	_, err := etcdtest.Start(t.Context(), etcdtest.WithTokenTTL(1500*time.Millisecond))
	require.ErrorContains(t, err, "whole seconds")
}
