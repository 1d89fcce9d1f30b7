package concurrency_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestTransactionsGoElsewhereIfAMemberIsCutOffFromItsPeers(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	leader, err := c.WaitLeader(guarded(t))
	require.NoError(t, err)
	cut := (leader + 1) % c.Size()
	client, lonely := c.Client(t), c.Client(t, etcdtest.ViaMember(cut))
	for range 2 * c.Size() { // connected to all of them
		get(t, client, "k")
	}
	require.NoError(t, c.Isolate(cut))
	eventually(t, func() bool { // it hears of it when its election timeout has passed
		_, err := lonely.Txn(clientv3.WithRequireLeader(guarded(t))).Then(clientv3.OpGet("k", clientv3.WithSerializable())).Commit()
		return errors.Is(err, rpctypes.ErrNoLeader)
	}, "it has no leader")
	for range 2 * c.Size() {
		eventually(t, func() bool {
			_, err := concurrency.NewSTM(client, func(s concurrency.STM) error { s.Put("k", s.Get("k")+"."); return nil },
				concurrency.WithAbortContext(guarded(t)))
			if !errors.Is(err, rpctypes.ErrNoLeader) && attempt.Transient(err) {
				return false // the two that are left are busy, and have elected anew
			}
			require.NoError(t, err)
			return true
		}, "they have a leader")
	}
	run(t, client, func(s concurrency.STM) error {
		require.GreaterOrEqual(t, len(s.Get("k")), 2*c.Size())
		return nil
	})
}

func TestATransactionThatWaitsForALeaderSaysSo(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	core, logged := observer.New(zapcore.WarnLevel)
	client := c.Client(t, etcdtest.WithFastReconnect(), etcdtest.WithConfig(func(cfg *clientv3.Config) { cfg.Logger = zap.New(core) }))
	get(t, client, "k")
	for i := range 2 {
		require.NoError(t, c.Stop(guarded(t), i))
	}
	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	done := soon(func() error {
		_, err := concurrency.NewSTM(client, func(s concurrency.STM) error { s.Get("k"); return nil }, concurrency.WithAbortContext(ctx))
		return err
	})
	warned := func() []observer.LoggedEntry {
		return logged.FilterMessage("concurrency: reading for a transaction: no answer yet").All()
	}
	eventually(t, func() bool { return len(warned()) > 0 }, "it says so")
	requirePending(t, done)
	said := warned()[0].ContextMap()
	require.ElementsMatch(t, c.Endpoints(), said["endpoints"])
	require.NotEmpty(t, said["error"])
	cancel()
	require.Equal(t, context.Canceled, await(t, done, "NewSTM returns"))
	require.Len(t, warned(), 1)
}
