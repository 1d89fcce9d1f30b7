package servers_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/conclave-go/conclave/internal/servers"
	"github.com/conclave-go/conclave/internal/suite"
)

func start(ctx context.Context, t *testing.T, opts ...servers.Option) *servers.Etcd {
	t.Helper()
	e, err := servers.StartEtcd(ctx, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// via is a client of one member.
func via(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// refuses requires that the cluster takes no writes, as soon as it has carried out an order.
func refuses(ctx context.Context, t *testing.T, c *clientv3.Client) {
	t.Helper()
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := c.Put(ctx, "k", "v")
		return err != nil
	}, hang, time.Millisecond)
}

func TestAMemberThatIsReplacedHasTheDataAndIsElsewhere(t *testing.T) {
	t.Parallel()
	ctx := guarded(t)
	e := start(ctx, t)
	put(ctx, t, e.Client())
	for i := range 2 { // the second is perhaps the leader
		before := e.Endpoints()[i]
		require.NoError(t, e.Replace(ctx, i))
		require.NotEqual(t, before, e.Endpoints()[i])
		resp, err := via(t, e.Endpoints()[i]).Get(ctx, "k")
		require.NoError(t, err)
		require.Len(t, resp.Kvs, 1, "it has the data")
		_, err = net(ctx, before)
		require.Error(t, err, "nobody is where it was")
	}
	list, err := e.Client().MemberList(ctx)
	require.NoError(t, err)
	require.Len(t, list.Members, 3)
	put(ctx, t, e.Client())
}

func TestALearnerJoinsIsPromotedAndLeaves(t *testing.T) {
	t.Parallel()
	ctx := guarded(t)
	e := start(ctx, t, servers.WithLearner())
	require.Len(t, e.Endpoints(), 4)
	put(ctx, t, e.Client())
	for range 2 {
		require.NoError(t, e.Join(ctx))
		learner := via(t, e.Endpoints()[3])
		_, err := learner.Get(ctx, "k")
		require.ErrorContains(t, err, "not supported for learner")
		require.NoError(t, e.Promote(ctx))
		put(ctx, t, learner)
		require.NoError(t, e.Leave(ctx))
		put(ctx, t, e.Client())
	}
}

func TestLinksBetweenMembersAreSlowAndLossy(t *testing.T) {
	t.Parallel()
	ctx := guarded(t)
	e := start(ctx, t, servers.WithPeerProxies())
	put(ctx, t, e.Client())
	const late = 60 * time.Millisecond
	require.NoError(t, e.SlowPeers(late))
	began := time.Now()
	put(ctx, t, e.Client())
	require.GreaterOrEqual(t, time.Since(began), 2*late, "a write is sent to a member and its answer comes back")
	require.NoError(t, e.Mend())
	require.NoError(t, e.LosePeers(50))
	for range suite.Long(5, 20) {
		put(ctx, t, e.Client())
	}
	require.NoError(t, e.LosePeers(100))
	refuses(ctx, t, e.Client())
	require.NoError(t, e.Mend())
	put(ctx, t, e.Client())
}

func TestADiskThatStallsCostsItsMemberTheLeadership(t *testing.T) {
	t.Parallel()
	ctx := guarded(t)
	e := start(ctx, t)
	put(ctx, t, e.Client())
	leader, err := e.Leader(ctx)
	require.NoError(t, err)
	require.NoError(t, e.StallDisk(leader))
	refuses(ctx, t, via(t, e.Endpoints()[leader])) // it has stalled
	next := (leader + 1) % 3
	put(ctx, t, via(t, e.Endpoints()[next]))
	require.NoError(t, e.FreeDisk(leader))
	put(ctx, t, via(t, e.Endpoints()[leader]))
}

func TestAClusterThatIsFullTakesNothingUntilItIsNot(t *testing.T) {
	t.Parallel()
	ctx := guarded(t)
	e := start(ctx, t, servers.WithOneMember())
	put(ctx, t, e.Client())
	require.ErrorContains(t, e.SlowPeers(time.Millisecond), "WithPeerProxies")
	// The only one whose disk stalls has nobody to go on.
	require.NoError(t, e.StallDisk(0))
	refuses(ctx, t, e.Client())
	require.NoError(t, e.FreeDisk(0))
	put(ctx, t, e.Client())
	require.NoError(t, e.Fill(ctx, 4))
	require.NoError(t, e.Defragment(ctx))
	require.NoError(t, e.Full(ctx))
	_, err := e.Client().Put(ctx, "k", "v")
	require.ErrorIs(t, err, rpctypes.ErrNoSpace)
	require.NoError(t, e.Empty(ctx))
	put(ctx, t, e.Client())
}

func TestAMemberThatWasAwayIsSentASnapshot(t *testing.T) {
	t.Parallel()
	ctx := guarded(t)
	e := start(ctx, t, servers.WithSnapshots(20))
	put(ctx, t, e.Client())
	require.NoError(t, e.Kill(0))
	for range 60 { // a snapshot after every 20, and the log is kept for 20 more
		put(ctx, t, e.Client())
	}
	require.NoError(t, e.Restart(ctx, 0))
	put(ctx, t, via(t, e.Endpoints()[0]))
	metrics, err := net(ctx, e.Endpoints()[0]+"/metrics")
	require.NoError(t, err)
	require.True(t, strings.Contains(metrics, "etcd_network_snapshot_receive_success"), "it counts none")
}

// net reads a page.
func net(ctx context.Context, address string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, nil)
	if err != nil {
		return "", err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func TestAnotherVersionOfEtcdIsStoppedAndKilledLikeTheOwn(t *testing.T) {
	t.Parallel()
	binary, err := servers.Binary(servers.PathVersion)
	if err != nil {
		t.Skipf("SKIPPED %s: %v", t.Name(), err)
	}
	_, err = servers.Binary("2.0")
	require.ErrorContains(t, err, "needs etcd 2.0: CONCLAVE_ETCD_20: it is "+servers.BinaryVersion(servers.PathVersion))
	ctx := guarded(t)
	e := start(ctx, t, servers.WithBinary(binary))
	put(ctx, t, e.Client())
	leader, err := e.Leader(ctx)
	require.NoError(t, err)
	status, err := e.Client().Status(ctx, e.Endpoints()[leader])
	require.NoError(t, err)
	require.Equal(t, servers.BinaryVersion(servers.PathVersion), status.Version)
	require.NoError(t, e.Pause(ctx, leader))
	put(ctx, t, via(t, e.Endpoints()[(leader+1)%3]))
	require.NoError(t, e.Resume(leader))
	require.NoError(t, e.Kill(leader))
	put(ctx, t, e.Client())
	require.NoError(t, e.Restart(ctx, leader))
	put(ctx, t, via(t, e.Endpoints()[leader]))
	require.ErrorContains(t, e.Isolate(leader), "takes no orders")
}
