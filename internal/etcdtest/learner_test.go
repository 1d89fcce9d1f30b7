package etcdtest_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestALearnerHasTheDataAndNoVote(t *testing.T) {
	t.Parallel()
	for _, members := range []int{1, 3} {
		c := etcdtest.New(t, etcdtest.WithMembers(members), etcdtest.WithLearner())
		require.Equal(t, members+1, c.Size())
		requireWrites(t, c.Client(t, etcdtest.ViaMember(0)), "k")
		learner := c.Client(t, etcdtest.ViaMember(members))
		requireCatchesUp(t, learner)
		_, err := learner.Get(guarded(t), "k")
		require.ErrorContains(t, err, "not supported for learner")
		list, err := c.Client(t, etcdtest.ViaMember(0)).MemberList(guarded(t))
		require.NoError(t, err)
		for _, m := range list.Members {
			require.Equal(t, m.ID == uint64(c.Etcd(members).Server.MemberID()), m.IsLearner)
		}
		if members > 1 {
			require.NoError(t, c.Kill(0))
			leader, err := c.WaitLeader(guarded(t))
			require.NoError(t, err)
			require.Less(t, leader, members)
		}
		require.NoError(t, c.Kill(members))
		require.NoError(t, c.Restart(guarded(t), members))
	}
}

func TestAConnectionHasNoMoreStreamsThanItMay(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMaxStreams(2))
	client := c.Client(t)
	requireWrites(t, client, "k")
	for range 2 {
		watcher := clientv3.NewWatcher(client) // with a stream of its own
		t.Cleanup(func() { _ = watcher.Close() })
		require.True(t, (<-watcher.Watch(guarded(t), "k", clientv3.WithCreatedNotify())).Created)
	}
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	_, err := client.Get(ctx, "k")
	requireTimedOut(t, err)
}
