package etcdtest_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestPutWritesOnceAlthoughItsReplyIsLost(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	var rec etcdtest.Recorder
	client, key := c.Client(t, etcdtest.WithRecorder(&rec)), c.Prefix(t)+"k"
	for version := int64(1); version <= 3; version++ {
		dropped := rec.DropReplies("Txn", 1)
		at, err := etcdtest.Put(guarded(t), client, key, "v")
		require.NoError(t, err)
		<-dropped
		resp, err := client.Get(guarded(t), key)
		require.NoError(t, err)
		require.Equal(t, version, resp.Kvs[0].Version)
		require.Equal(t, at, resp.Kvs[0].ModRevision)
	}
}

func TestPutSaysWhatDoesNotGoAway(t *testing.T) {
	t.Parallel()
	_, err := etcdtest.Put(guarded(t), etcdtest.New(t).Client(t), "", "v")
	require.ErrorIs(t, err, rpctypes.ErrEmptyKey)
}

func TestPutEndsWithItsContextWhileNobodyServes(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	client := c.Client(t)
	require.NoError(t, c.Kill(0))
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	_, err := etcdtest.Put(ctx, client, "k", "v")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestPutsGoOnWhileMembersAreKilledOneAfterAnother(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	client := c.Client(t, etcdtest.WithFastReconnect())
	for i := range c.Size() {
		for _, do := range []func() error{
			func() error { return c.Kill(i) },
			func() error { return c.Restart(guarded(t), i) },
			func() error { return c.MoveLeader(guarded(t)) },
		} {
			require.NoError(t, do())
			requireWrites(t, client, "k")
		}
	}
	resp, err := client.Get(guarded(t), "k")
	require.NoError(t, err)
	require.EqualValues(t, 3*c.Size(), resp.Kvs[0].Version)
}
