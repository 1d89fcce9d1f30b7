package conclavegrpc_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	official "go.etcd.io/etcd/client/v3/naming/resolver"

	"github.com/conclave-go/conclave/conclavegrpc"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestOfficialAndOurRegistrantsAreFoundByBothResolvers(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, name := c.Client(t), service(t, c)
	ours, theirs := newServer(t), newServer(t)

	register(t, newSession(t, client), name, "ours", ours.addr)
	manager, err := endpoints.NewManager(client, name)
	require.NoError(t, err)
	require.NoError(t, manager.AddEndpoint(guarded(t), name+"/theirs", endpoints.Endpoint{Addr: theirs.addr}))

	old, err := official.NewBuilder(client)
	require.NoError(t, err)
	awaitCallers(t, dial(t, newBuilder(t, client), "etcd:///"+name), ours.addr, theirs.addr)
	awaitCallers(t, dial(t, old, "etcd:///"+name), ours.addr, theirs.addr)
}

func TestAValueIsWhatTheOfficialManagerWrites(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, name := c.Client(t), service(t, c)
	metadata := map[string]any{"weight": 3, "zone": "north", "tags": []string{"a", "b"}}
	_, err := conclavegrpc.Register(guarded(t), newSession(t, client), name, "ours", conclavegrpc.Endpoint{Addr: "a:1", Metadata: metadata})
	require.NoError(t, err)
	register(t, newSession(t, client), name, "plain", "a:1")
	manager, err := endpoints.NewManager(client, name)
	require.NoError(t, err)
	require.NoError(t, manager.AddEndpoint(guarded(t), name+"/theirs", endpoints.Endpoint{Addr: "a:1", Metadata: metadata}))
	require.NoError(t, manager.AddEndpoint(guarded(t), name+"/bare", endpoints.Endpoint{Addr: "a:1"}))

	value := func(key string) string {
		resp, err := client.Get(guarded(t), name+"/"+key)
		require.NoError(t, err)
		require.Len(t, resp.Kvs, 1)
		return string(resp.Kvs[0].Value)
	}
	require.Equal(t, value("theirs"), value("ours"))
	require.Equal(t, value("bare"), value("plain"))
}

// The official resolver's watch ends at a compaction, and it serves what it had for ever.
func TestACompactionWhileCutOffMakesTheOfficialResolverStaleAndNotOurs(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	net := c.Net(t)
	client, other, name := c.Client(t, etcdtest.ViaNet(net), etcdtest.WithFastReconnect()), c.Client(t), service(t, c)
	first, second := newServer(t), newServer(t)
	old, err := official.NewBuilder(client)
	require.NoError(t, err)
	put := func(key string, s *server) {
		manager, err := endpoints.NewManager(other, name)
		require.NoError(t, err)
		require.NoError(t, manager.AddEndpoint(guarded(t), name+"/"+key, endpoints.Endpoint{Addr: s.addr}))
	}
	put("first", first)
	ours, theirs := dial(t, newBuilder(t, client), "etcd:///"+name), dial(t, old, "etcd:///"+name)
	awaitCallers(t, ours, first.addr)
	awaitCallers(t, theirs, first.addr)

	net.Refuse()
	put("second", second)
	_, err = other.Delete(guarded(t), name+"/first")
	require.NoError(t, err)
	require.NoError(t, c.Compact(guarded(t)))
	net.Heal()

	awaitCallers(t, ours, second.addr)
	// Ours has it from another watch on the same connection, so theirs has had its chance,
	// and a change that comes later does not reach it either.
	put("third", first)
	awaitCallers(t, ours, first.addr, second.addr)
	awaitCallers(t, theirs, first.addr)
}

func TestAnAddressThatSomebodyDeletesIsPutAgain(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	client, name := c.Client(t), service(t, c)
	s := newServer(t)
	session := newSession(t, client)
	register(t, session, name, "a", s.addr)
	conn := dial(t, newBuilder(t, client), "etcd:///"+name)
	awaitCallers(t, conn, s.addr)

	l, err := session.Lease(guarded(t))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	changes := client.Watch(ctx, name+"/a", clientv3.WithCreatedNotify())
	<-changes
	_, err = client.Revoke(guarded(t), l.ID())
	require.NoError(t, err)
	again := false
	for resp := range changes {
		require.NoError(t, resp.Err())
		if last := resp.Events[len(resp.Events)-1]; last.Type == clientv3.EventTypePut {
			require.NotEqual(t, int64(l.ID()), last.Kv.Lease)
			again = true
			break
		}
	}
	require.True(t, again, "it is not put again")
	awaitCallers(t, conn, s.addr)
}
