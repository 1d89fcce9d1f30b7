package etcdtest_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// guard is how long a test waits for what must happen; only a failure takes that long. A member
// may take three minutes until it serves.
const guard = 5 * time.Minute

// guarded is the test's context with a limit.
func guarded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	t.Cleanup(cancel)
	return ctx
}

// leaderOf waits until a member leads: one may have just lost an election.
func leaderOf(t *testing.T, c *etcdtest.Cluster) int {
	t.Helper()
	leader, err := c.WaitLeader(guarded(t))
	require.NoError(t, err)
	return leader
}

func requireWrites(t *testing.T, client *clientv3.Client, key string) {
	t.Helper()
	_, err := etcdtest.Put(guarded(t), client, key, "v")
	require.NoError(t, err)
}

func requireValue(t *testing.T, client *clientv3.Client, key, want string) {
	t.Helper()
	resp, err := client.Get(guarded(t), key)
	require.NoError(t, err)
	require.Len(t, resp.Kvs, 1)
	require.Equal(t, want, string(resp.Kvs[0].Value))
}

func TestStartReturnsAClusterThatServes(t *testing.T) {
	t.Parallel()
	for _, members := range []int{1, 3} {
		begin := time.Now()
		c, err := etcdtest.Start(guarded(t), etcdtest.WithMembers(members))
		require.NoError(t, err)
		t.Logf("%d members: %v", members, time.Since(begin))
		require.Len(t, c.Endpoints(), members)
		require.Equal(t, members, c.Size())
		require.False(t, c.External())

		client, err := c.NewClient()
		require.NoError(t, err)
		requireWrites(t, client, "k")
		list, err := client.MemberList(guarded(t))
		require.NoError(t, err)
		require.Len(t, list.Members, members)
		require.NoError(t, client.Sync(guarded(t)), "members advertise where clients find them")
		requireValue(t, client, "k", "v")
		require.NoError(t, client.Close())
		require.NoError(t, c.Close())
		require.NoError(t, c.Close(), "Close is idempotent")
	}
}

func TestStartReturnsWhenItsContextHasEnded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := etcdtest.Start(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestStartRefusesImpossibleSizes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{-1, 0, 8} {
		_, err := etcdtest.Start(t.Context(), etcdtest.WithMembers(n))
		require.ErrorContains(t, err, "must be 1 to 7")
	}
}

func TestClustersInOneProcessDoNotMeet(t *testing.T) {
	t.Parallel()
	clients := make([]*clientv3.Client, 4)
	clusters := make([]*etcdtest.Cluster, len(clients))
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() { clusters[i] = etcdtest.New(t, etcdtest.WithControl()) })
	}
	wg.Wait()
	for i, c := range clusters {
		clients[i] = c.Client(t)
		_, err := etcdtest.Put(guarded(t), clients[i], "k", c.Endpoints()[0])
		require.NoError(t, err)
	}
	for i, c := range clusters {
		requireValue(t, clients[i], "k", c.Endpoints()[0])
	}
}

func TestCloseRemovesTheData(t *testing.T) {
	t.Parallel()
	c, err := etcdtest.Start(guarded(t))
	require.NoError(t, err)
	dir := filepath.Dir(c.Etcd(0).Config().Dir)
	require.DirExists(t, dir)
	require.NoError(t, c.Close())
	_, err = os.Stat(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestTheSmallestTTLIsWhatMinTTLSays(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	lease, err := c.Client(t).Grant(guarded(t), 1)
	require.NoError(t, err)
	require.Equal(t, time.Second, c.MinTTL(t))
	require.EqualValues(t, 1, lease.TTL)
}

func TestPrefixesAreUnique(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	t.Run("sub test", func(t *testing.T) {
		t.Parallel()
		a, b := c.Prefix(t), c.Prefix(t)
		require.Regexp(t, `^etcdtest/TestPrefixesAreUnique\.sub_test/[A-Z2-7]{8}/$`, a)
		require.NotEqual(t, a, b)
	})
}

func TestKilledMemberComesBackWithItsData(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	client := c.Client(t, etcdtest.WithFastReconnect())
	requireWrites(t, client, "k")

	require.NoError(t, c.Kill(0))
	require.NoError(t, c.Kill(0), "killing the dead does nothing")
	require.False(t, c.Running(0))
	require.Nil(t, c.Etcd(0))
	require.Equal(t, -1, c.Leader())

	require.NoError(t, c.Restart(guarded(t), 0))
	require.True(t, c.Running(0))
	requireValue(t, client, "k", "v")
	require.ErrorContains(t, c.Restart(guarded(t), 0), "is running")
}

func TestRestartWaitsForAPortThatIsTaken(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.Kill(0))
	thief, err := net.Listen("tcp", c.Endpoints()[0])
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	require.ErrorIs(t, c.Restart(ctx, 0), context.DeadlineExceeded)
	require.NoError(t, thief.Close())
	require.NoError(t, c.Restart(guarded(t), 0))
}

func TestKillBreaksOpenStreams(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	var rec etcdtest.Recorder
	client := c.Client(t, etcdtest.WithRecorder(&rec))
	watch := client.Watch(guarded(t), "k", clientv3.WithCreatedNotify())
	require.True(t, (<-watch).Created)

	require.NoError(t, c.Kill(0))
	require.Eventually(t, func() bool { return rec.Open("Watch") == 0 }, guard, time.Millisecond)
	requireStuck(t, client)
}

func TestKilledMemberSaysNothingToItsClients(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	old := leaderOf(t, c)
	var rec etcdtest.Recorder
	client := c.Client(t, etcdtest.ViaMember(old), etcdtest.WithRecorder(&rec))
	requireWrites(t, client, "k")
	require.NoError(t, c.Isolate(old))
	_, err := c.WaitLeader(guarded(t), old)
	require.NoError(t, err)
	rec.Reset()
	outcome := make(chan error, 1)
	go func() {
		_, err := client.Put(t.Context(), "k", "without a majority")
		outcome <- err
	}()
	sent := func() bool { n, _ := rec.Bytes(); return n > 0 }
	require.Eventually(t, sent, guard, time.Millisecond)

	require.NoError(t, c.Kill(old)) // before the member has waited five seconds for a leader
	err = <-outcome
	require.Equal(t, codes.Unavailable, rpcCode(err))
	require.NotContains(t, err.Error(), "etcdserver:")
}

func TestKilledLeaderIsReplaced(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	client := c.Client(t, etcdtest.WithFastReconnect())
	requireWrites(t, client, "k")
	old := leaderOf(t, c)
	require.NoError(t, c.Kill(old))
	leader := leaderOf(t, c)
	require.NotEqual(t, old, leader)
	requireWrites(t, c.Client(t, etcdtest.ViaMember(leader)), "k2")

	require.NoError(t, c.Restart(guarded(t), old))
	requireValue(t, c.Client(t, etcdtest.ViaMember(old)), "k2", "v")
}

func TestWholeClusterComesBackMemberByMember(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	requireWrites(t, c.Client(t), "k")
	for i := range 3 {
		require.NoError(t, c.Kill(i))
	}
	for i := range 3 {
		require.NoError(t, c.Restart(guarded(t), i), "does not wait for a majority that is not there")
	}
	_, err := c.WaitLeader(guarded(t))
	require.NoError(t, err)
	requireValue(t, c.Client(t, etcdtest.WithFastReconnect()), "k", "v")
}

func TestStopHandsTheLeadershipOver(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	old := leaderOf(t, c)

	require.NoError(t, c.Stop(guarded(t), old))
	require.NotEqual(t, old, leaderOf(t, c)) // the others may have yet to hear of it
}

func TestMoveLeaderToAMemberThatIsCutOffEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3), etcdtest.WithControl())
	var moved error
	for within := guarded(t); moved == nil; { // it is not when another happens to be elected meanwhile
		require.NoError(t, within.Err(), "it says that it moved the leadership")
		c.HealLinks()
		require.NoError(t, c.Isolate((leaderOf(t, c)+1)%3))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		moved = c.MoveLeader(ctx)
		cancel()
	}
	require.ErrorIs(t, moved, context.DeadlineExceeded)
}

func TestMoveLeaderMovesIt(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	for within, old, now := guarded(t), 0, 0; old == now; now = c.Leader() { // the old one may be elected anew
		require.NoError(t, within.Err(), "the same one leads")
		old = leaderOf(t, c)
		require.NoError(t, c.MoveLeader(within))
	}

	require.ErrorContains(t, etcdtest.New(t, etcdtest.WithControl()).MoveLeader(guarded(t)), "no other member")
}

func TestWaitLeaderEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	leader := leaderOf(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := c.WaitLeader(ctx, leader)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestIsolatedLeaderIsDeposedUntilItsLinksHeal(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	old := leaderOf(t, c)
	require.NoError(t, c.Isolate(old))
	leader, err := c.WaitLeader(guarded(t), old)
	require.NoError(t, err)
	requireWrites(t, c.Client(t, etcdtest.ViaMember(leader)), "k")

	isolated := c.Client(t, etcdtest.ViaMember(old), etcdtest.WithFastReconnect())
	resp, err := isolated.Get(guarded(t), "k", clientv3.WithSerializable())
	require.NoError(t, err)
	require.Empty(t, resp.Kvs, "the isolated member has not heard of the write")

	c.HealLinks()
	requireCatchesUp(t, isolated)
}

// requireCatchesUp waits until a member's client sees the key "k".
func requireCatchesUp(t *testing.T, client *clientv3.Client) {
	t.Helper()
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		resp, err := client.Get(ctx, "k", clientv3.WithSerializable())
		return err == nil && len(resp.Kvs) == 1
	}, guard, 10*time.Millisecond)
}

func TestCutsOutliveRestarts(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	require.NoError(t, c.Isolate(0))
	for i := range 3 {
		require.NoError(t, c.Kill(i))
	}
	for i := range 3 {
		require.NoError(t, c.Restart(guarded(t), i), "it does not wait for a majority out of reach")
	}
	leader := leaderOf(t, c)
	require.NotZero(t, leader)
	requireWrites(t, c.Client(t, etcdtest.ViaMember(leader), etcdtest.WithFastReconnect()), "k")

	isolated := c.Client(t, etcdtest.ViaMember(0), etcdtest.WithFastReconnect())
	ctx, cancel := context.WithTimeout(t.Context(), 5*soon)
	defer cancel()
	_, err := isolated.Get(ctx, "k", clientv3.WithSerializable())
	requireTimedOut(t, err) // a member serves nobody before it has met a majority
	c.HealLinks()
	requireCatchesUp(t, isolated)
}

func TestCutLinkLeavesTheOtherLinks(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	leader := leaderOf(t, c)
	follower, third := (leader+1)%3, (leader+2)%3
	require.NoError(t, c.CutLink(leader, follower))
	requireWrites(t, c.Client(t, etcdtest.ViaMember(third)), "k")
	require.ErrorContains(t, c.CutLink(0, 3), "member 3")
	require.ErrorContains(t, c.Isolate(-1), "member -1")
}

func TestCompactForgetsTheHistory(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	client := c.Client(t)
	requireWrites(t, client, "k")
	requireWrites(t, client, "k")
	require.NoError(t, c.Compact(guarded(t)))
	_, err := client.Get(guarded(t), "k", clientv3.WithRev(2))
	require.ErrorIs(t, err, rpctypes.ErrCompacted)
	requireValue(t, client, "k", "v")
}

func TestUserMayTouchOnlyTheirPrefix(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	ctx := guarded(t)
	require.NoError(t, c.EnableAuth(ctx))
	require.NoError(t, c.AddUser(ctx, "ann", "secret", "mine/"))

	_, err := c.Client(t).Put(ctx, "mine/k", "v")
	require.ErrorIs(t, err, rpctypes.ErrUserEmpty)
	ann := c.Client(t, etcdtest.WithUser("ann", "secret"))
	requireWrites(t, ann, "mine/k")
	_, err = ann.Put(ctx, "other/k", "v")
	require.ErrorIs(t, err, rpctypes.ErrPermissionDenied)
	_, err = ann.Get(ctx, "", clientv3.WithPrefix())
	require.ErrorIs(t, err, rpctypes.ErrPermissionDenied)

	require.NoError(t, c.Compact(ctx), "administration goes on as root")
	root := c.Client(t, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword))
	requireWrites(t, root, "other/k")
}
