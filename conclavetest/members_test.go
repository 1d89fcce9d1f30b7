package conclavetest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/conclavetest"
	"github.com/conclave-go/conclave/lease"
)

func TestStartClusterIsForPrograms(t *testing.T) {
	t.Parallel()
	c, err := conclavetest.StartCluster(guarded(t), conclavetest.WithMembers(3))
	require.NoError(t, err)
	require.Len(t, c.Endpoints(), 3)
	client, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints()})
	require.NoError(t, err)
	put(t, client, "key")
	require.NoError(t, client.Close())
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
}

func TestBadOptionsAreRefused(t *testing.T) {
	t.Parallel()
	for _, members := range []int{0, 8} {
		_, err := conclavetest.StartCluster(guarded(t), conclavetest.WithMembers(members))
		require.ErrorContains(t, err, fmt.Sprintf("conclavetest: %d members: must be 1 to 7", members))
	}
	_, err := conclavetest.StartCluster(guarded(t), nil)
	require.ErrorContains(t, err, "option is nil")
	require.Contains(t, failure(t, func(tb testing.TB) { conclavetest.NewCluster(tb, nil) }), "option is nil")
}

func TestStartClusterEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := conclavetest.StartCluster(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestMinTTLIsGrantedAsAsked(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		resp, err := c.Client(t).Grant(guarded(t), int64(conclavetest.MinTTL/time.Second))
		require.NoError(t, err)
		require.Equal(t, conclavetest.MinTTL, time.Duration(resp.TTL)*time.Second)
		require.Equal(t, lease.MinTTL, conclavetest.MinTTL, "no test needs a longer one")
	})
}

// refuses requires that nobody serves the client.
func refuses(t *testing.T, client *clientv3.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := client.Get(ctx, "key")
	require.Error(t, err)
}

func TestAMemberComesBackWithWhatItHadAcknowledged(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		client := c.Client(t)
		put(t, client, "key")
		for _, end := range []func(testing.TB, int){c.Kill, c.Stop} {
			end(t, 0)
			end(t, 0) // again
			refuses(t, client)
			c.Restart(t, 0)
			require.True(t, exists(t, client, "key"))
		}
		c.Restart(t, 0) // while it runs
		require.True(t, exists(t, client, "key"))
	})
}

func TestAMajorityServesWhileOneMemberIsDown(t *testing.T) {
	t.Parallel()
	c := conclavetest.NewCluster(t, conclavetest.WithMembers(3))
	client := c.Client(t)
	for _, end := range []func(testing.TB, int){c.Kill, c.Stop} {
		leader := c.Leader(t)
		end(t, leader)
		require.NotEqual(t, leader, c.Leader(t))
		put(t, client, "key")
		c.Restart(t, leader)
	}
	require.Contains(t, failure(t, func(tb testing.TB) { c.Kill(tb, 3) }), "conclavetest: member 3: must be 0 to 2")
	require.Contains(t, failure(t, func(tb testing.TB) { c.Stop(tb, -1) }), "conclavetest: member -1: must be 0 to 2")
	require.Contains(t, failure(t, func(tb testing.TB) { c.Restart(tb, 3) }), "conclavetest: member 3: must be 0 to 2")
}

func TestMoveLeaderMovesIt(t *testing.T) {
	t.Parallel()
	c := conclavetest.NewCluster(t, conclavetest.WithMembers(3))
	for within, old, now := guarded(t), 0, 0; old == now; now = c.Leader(t) { // the old one may be elected anew
		require.NoError(t, within.Err(), "the same one leads")
		old = c.Leader(t)
		c.MoveLeader(t)
	}
	put(t, c.Client(t), "key")
}

func TestOneMemberHasNobodyToMoveTheLeadershipTo(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		require.Contains(t, failure(t, c.MoveLeader), "moving the leader")
		require.Zero(t, c.Leader(t))
	})
}

func TestAStoppedMemberInVirtualTimeSaysSo(t *testing.T) {
	t.Parallel()
	conclavetest.VirtualCluster(t, func(t *testing.T, c *conclavetest.Cluster) {
		c.Stop(t, 0)
		require.Contains(t, failure(t, func(tb testing.TB) { c.Leader(tb) }), "the only member is stopped")
		require.Contains(t, failure(t, c.Compact), "the only member is stopped")
		require.Empty(t, c.Endpoints())
	})
}

func TestAdvanceLetsVirtualTimePassToTheInstant(t *testing.T) {
	t.Parallel()
	conclavetest.VirtualCluster(t, func(t *testing.T, _ *conclavetest.Cluster) {
		began, rang := time.Now(), time.Time{}
		time.AfterFunc(time.Hour, func() { rang = time.Now() })
		conclavetest.Advance(time.Hour)
		require.Equal(t, began.Add(time.Hour), rang)
	})
}

func TestAdvancePanicsInRealTimeAtOnce(t *testing.T) {
	t.Parallel()
	require.Panics(t, func() { conclavetest.Advance(100 * guard) })
}
