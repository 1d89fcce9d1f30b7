package etcdtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// soon is how long a call is given that cannot succeed.
const soon = 100 * time.Millisecond

func rpcCode(err error) codes.Code { return status.Code(err) }

func requireStuck(t *testing.T, client *clientv3.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	_, err := client.Get(ctx, "k")
	requireTimedOut(t, err)
}

// requireTimedOut allows for gRPC noticing a deadline before the context does:
// clientv3 then returns gRPC's error, which Is not the context's.
func requireTimedOut(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, context.DeadlineExceeded) {
		require.Equal(t, codes.DeadlineExceeded, rpcCode(err), "%v", err)
	}
}

func TestCutHitsOneClientAndHealMendsIt(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, net := c.ProxiedClient(t)
	_, err := client.Get(guarded(t), "k")
	require.NoError(t, err)

	for _, cut := range []func(){
		net.Cut, net.CutToServer, net.CutToClient, net.Forget,
		func() { net.Delay(time.Hour) }, func() { net.DelayToServer(time.Hour) }, func() { net.DelayToClient(time.Hour) },
		func() { net.RateToServer(1) }, func() { net.RateToClient(1) },
	} {
		cut()
		requireStuck(t, client)
		_, err := c.Client(t).Get(guarded(t), "k")
		require.NoError(t, err, "others have a network of their own")
		net.Heal()
		_, err = client.Get(guarded(t), "k")
		require.NoError(t, err)
	}
}

func TestBrokenConnectionsAreMadeAnew(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, net := c.ProxiedClient(t, etcdtest.WithFastReconnect())
	for _, fault := range []func(){net.Reset, net.Refuse, net.HalfOpen} {
		_, err := client.Get(guarded(t), "k")
		require.NoError(t, err)
		fault()
		net.Heal()
		_, err = client.Get(guarded(t), "k")
		require.NoError(t, err)
	}
}

func TestFaultsLastUntilHeal(t *testing.T) {
	t.Parallel()
	client, net := etcdtest.New(t).ProxiedClient(t, etcdtest.WithFastReconnect())
	for _, fault := range []func(){net.Refuse, net.HalfOpen} {
		fault()
		requireStuck(t, client)
		net.Heal()
		_, err := client.Get(guarded(t), "k")
		require.NoError(t, err)
	}
}

func TestCutMemberLeavesTheOthers(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	net := c.Net(t)
	require.Len(t, net.Endpoints(), 3)
	net.CutMember(1)
	for i := range 3 {
		client := c.Client(t, etcdtest.ViaProxies(net.Member(i)))
		if i == 1 {
			requireStuck(t, client)
			continue
		}
		_, err := client.Get(guarded(t), "k")
		require.NoError(t, err)
	}
}

func TestTwoClientsMayShareANet(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	one, net := c.ProxiedClient(t)
	two := c.Client(t, etcdtest.ViaNet(net))
	net.Cut()
	requireStuck(t, one)
	requireStuck(t, two)
}

func TestDroppedReplyOfARealServerLeavesItsEffect(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, net := c.ProxiedClient(t, etcdtest.WithFastReconnect())
	key := c.Prefix(t) + "k"
	_, err := client.Get(guarded(t), key)
	require.NoError(t, err)

	dropped := net.Member(0).DropNextReply()
	_, err = client.Put(guarded(t), key, "v")
	require.Equal(t, codes.Unavailable, rpcCode(err), "%v", err)
	<-dropped
	requireValue(t, client, key, "v")
}

func TestConfigOfAClientCanBeEdited(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	client := c.Client(t, etcdtest.WithConfig(func(cfg *clientv3.Config) {
		cfg.Endpoints = []string{"127.0.0.1:1"}
	}))
	require.Equal(t, []string{"127.0.0.1:1"}, client.Endpoints())
}
