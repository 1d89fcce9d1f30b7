package conclavetest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/conclavetest"
)

// connected returns a client that has a connection.
func connected(t *testing.T, n *conclavetest.Network) *clientv3.Client {
	t.Helper()
	client := n.Client(t)
	_, err := client.Get(guarded(t), "any")
	require.NoError(t, err)
	return client
}

// requireSilence requires that client gets no answer.
func requireSilence(t *testing.T, client *clientv3.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // an answer takes one
	defer cancel()
	_, err := client.Get(ctx, "any")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestACutLetsNothingPassUntilItIsHealed(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		n := c.Network(t)
		client := connected(t, n)
		n.Cut()
		requireSilence(t, client)
		requireSilence(t, n.Client(t)) // a new connection hangs
		require.False(t, exists(t, c.Client(t), "any"), "others are not concerned")
		held := make(chan error, 1)
		go func() {
			_, err := client.Put(guarded(t), "key", "value")
			held <- err
		}()
		if isVirtual() {
			conclavetest.Advance(time.Second)
			require.Empty(t, held)
		}
		n.Heal()
		require.NoError(t, await(t, held, "what was held arrives"))
	})
}

func TestRequestsTakeEffectWhileTheWayToTheClientIsCut(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		n := c.Network(t)
		client := connected(t, n)
		puts := watch(t, c.Client(t), "key")
		n.CutToClient()
		ctx, cancel := context.WithCancel(guarded(t))
		done := make(chan error, 1)
		go func() {
			_, err := client.Put(ctx, "key", "value")
			done <- err
		}()
		require.Equal(t, []string{"key"}, keys(t, puts))
		select {
		case err := <-done:
			require.Fail(t, "the client has got a reply", "%v", err)
		default:
		}
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

func TestEventsArriveWhileTheWayToTheServerIsCut(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		n := c.Network(t)
		client := connected(t, n)
		puts := watch(t, client, "key")
		n.CutToServer()
		put(t, c.Client(t), "key")
		require.Equal(t, []string{"key"}, keys(t, puts))
		requireSilence(t, client)
	})
}

func TestCutMemberLeavesTheOthers(t *testing.T) {
	t.Parallel()
	n := conclavetest.NewCluster(t, conclavetest.WithMembers(3)).Network(t)
	var clients []*clientv3.Client
	for _, endpoint := range n.Config().Endpoints {
		cfg := n.Config()
		cfg.Endpoints = []string{endpoint}
		client, err := clientv3.New(cfg)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, client.Close()) })
		require.False(t, exists(t, client, "any"))
		clients = append(clients, client)
	}
	n.CutMember(t, 1)
	requireSilence(t, clients[1])
	require.False(t, exists(t, clients[0], "any"))
	require.False(t, exists(t, clients[2], "any"))
	require.Contains(t, failure(t, func(tb testing.TB) { n.CutMember(tb, 3) }), "conclavetest: member 3: must be 0 to 2")
}

// connections counts those that have ended.
type connections struct{ ended chan struct{} }

func (connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (connections) HandleRPC(context.Context, stats.RPCStats)                         {}
func (connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (c connections) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, ended := s.(*stats.ConnEnd); ended {
		c.ended <- struct{}{}
	}
}

func TestResetBreaksConnections(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		n := c.Network(t)
		seen := connections{make(chan struct{}, 100)}
		cfg := n.Config()
		cfg.DialOptions = append(cfg.DialOptions, grpc.WithStatsHandler(seen))
		client, err := clientv3.New(cfg)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, client.Close()) })
		require.False(t, exists(t, client, "any"))
		for len(seen.ended) > 0 { // a busy machine may have tried to connect more than once
			<-seen.ended
		}
		n.Reset()
		await(t, seen.ended, "the connection ends")
		require.False(t, exists(t, client, "any"))
	})
}

func TestAStalledWatchDeliversWhatItMissedOnceHealed(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		n := c.Network(t)
		client, other := connected(t, n), c.Client(t)
		puts := watch(t, client, "key")
		n.StallWatches()
		n.StallWatches() // again
		put(t, other, "key")
		put(t, other, "key")
		require.True(t, exists(t, client, "key"), "the rest works")
		late := make(chan clientv3.WatchResponse, 1)
		go func() { // Watch waits for the word that the watch exists
			late <- <-client.Watch(guarded(t), "key", clientv3.WithCreatedNotify())
		}()
		if isVirtual() {
			conclavetest.Advance(5 * time.Second)
			require.Empty(t, puts)
			require.Empty(t, late)
		}
		n.Heal()
		require.True(t, await(t, late, "the later watch exists").Created)
		var all []string
		for len(all) < 2 {
			all = append(all, keys(t, puts)...)
		}
		require.Equal(t, []string{"key", "key"}, all)
	})
}

func TestADroppedReplyIsThatOfARequestWhichTookEffect(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		n := c.Network(t)
		client := n.Client(t)
		dropped := n.DropReply(t, "Put")
		require.False(t, exists(t, client, "key"), "other methods are not concerned")
		_, err := client.Put(guarded(t), "key", "value")
		require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
		await(t, dropped, "the reply is dropped")
		require.True(t, exists(t, client, "key"))
		put(t, client, "key") // the next one is not
	})
}

func TestOnlyRepliesOfUnaryMethodsCanBeDropped(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		n := c.Network(t)
		require.Contains(t, failure(t, func(tb testing.TB) { n.DropReply(tb, "Watch") }), `method "Watch": must be one of Txn`)
	})
}

func TestEachConfigCanBeChanged(t *testing.T) {
	t.Parallel()
	n := conclavetest.NewCluster(t).Network(t)
	cfg := n.Config()
	cfg.Endpoints[0], cfg.DialOptions[0] = "elsewhere", nil
	put(t, n.Client(t), "key")
}

func TestFaultsThatThereAreNotAreRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		n := c.Network(t)
		for _, refused := range []struct{ want, message string }{
			{"delay -1ns: must not be negative", failure(t, func(tb testing.TB) { n.Slow(tb, -1) })},
			{"-1 bytes a second: must not be negative", failure(t, func(tb testing.TB) { n.Limit(tb, -1) })},
			{`method "Get": must be one of Txn, Put`, failure(t, func(tb testing.TB) { n.RefuseCall(tb, "Get", context.Canceled) })},
			{"refusing Put: error is nil", failure(t, func(tb testing.TB) { n.RefuseCall(tb, "Put", nil) })},
			{"member 1: must be 0 to 0", failure(t, func(tb testing.TB) { c.Isolate(tb, 1) })},
		} {
			require.Contains(t, refused.message, "conclavetest: "+refused.want)
		}
		if isVirtual() {
			require.Contains(t, failure(t, func(tb testing.TB) { n.Slow(tb, 1) }), "messages take no time in virtual time")
			require.Contains(t, failure(t, func(tb testing.TB) { n.Limit(tb, 1) }), "messages take no time in virtual time")
			require.Contains(t, failure(t, func(tb testing.TB) { c.Isolate(tb, 0) }), "a cluster in virtual time has one member")
		}
	})
	_, err := conclavetest.StartCluster(t.Context(), conclavetest.WithMaxStreams(0))
	require.ErrorContains(t, err, "conclavetest: 0 streams: must be at least 1")
}

func TestARefusedCallIsNotCarriedOut(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		n := c.Network(t)
		client := n.Client(t)
		refused := n.RefuseCall(t, "Put", rpctypes.ErrGRPCPermissionDenied)
		_, err := client.Put(guarded(t), "key", "value")
		require.ErrorIs(t, err, rpctypes.ErrPermissionDenied)
		await(t, refused, "it was refused")
		require.False(t, exists(t, client, "key"))
		put(t, client, "key") // the next is not
	})
}

func TestAFullClusterTakesNothingButDeletionsUntilThereIsRoom(t *testing.T) {
	onBoth(t, func(t *testing.T, c *conclavetest.Cluster) {
		client := c.Client(t)
		put(t, client, "key")
		c.FillUp(t)
		_, err := client.Put(guarded(t), "other", "value")
		require.ErrorIs(t, err, rpctypes.ErrNoSpace)
		_, err = client.Delete(guarded(t), "key")
		require.NoError(t, err)
		c.MakeRoom(t)
		put(t, client, "key")
	})
}
