package redlock_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

// handsOver requires that the lock is taken, renewed, waited for and released.
func handsOver(t *testing.T, nodes *redlock.Nodes) {
	t.Helper()
	m, err := redlock.NewMutex(nodes, name)
	require.NoError(t, err)
	h, err := m.Lock(guarded(t))
	require.NoError(t, err)
	eventually(t, func() bool { return h.Extend(guarded(t)) == nil }, "it is extended")
	done := make(chan outcome, 1)
	go func() {
		h, err := m.Lock(guarded(t))
		done <- outcome{h, err}
	}()
	letGo(t, h)
	letGo(t, granted(t, done))
}

// letGo requires that the hold lasted until its release. A busy machine may confirm that after the node timeout.
func letGo(t *testing.T, h *redlock.Hold) {
	t.Helper()
	err := h.Unlock(guarded(t))
	if _, late := errors.AsType[*redlock.QuorumError](err); late {
		err = nil
	}
	require.NoError(t, err)
}

// unhurried is the longest node timeout that there is for locks that the failure of a server may leave to their TTL.
const unhurried = redlock.DefaultTTL / 3

// Holds may be lost with the server, as the package says; the lock is not.
func TestALockGoesOnAfterASentinelHasMadeAReplicaTheMaster(t *testing.T) {
	t.Parallel()
	c := redistest.New(t, 2)
	c.Replicate(t, 1)
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: redistest.Master, SentinelAddrs: []string{c.NewSentinel(t)},
	})
	defer func() { require.NoError(t, client.Close()) }()
	nodes, err := redlock.NewNodes([]redis.UniversalClient{client}, redlock.WithNodeTimeout(unhurried))
	require.NoError(t, err)
	handsOver(t, nodes)
	c.Node(0).Kill(t)
	handsOver(t, nodes)
	role, err := c.Node(1).Admin().Do(guarded(t), "ROLE").Slice()
	require.NoError(t, err)
	require.Equal(t, "master", role[0])
	require.NoError(t, nodes.Close(guarded(t)))
}

func TestALockGoesOnAfterARedisClusterHasFailedOver(t *testing.T) {
	t.Parallel()
	const masters = 3
	c := redistest.NewRedisCluster(t, masters)
	var addrs []string
	for _, n := range c.Nodes() {
		addrs = append(addrs, n.Addr())
	}
	// After as many failed dials as the pool is large, go-redis would try by itself once a second,
	// for up to a second after the end.
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, PoolSize: 10000})
	defer func() { require.NoError(t, client.Close()) }()
	nodes, err := redlock.NewNodes([]redis.UniversalClient{client}, redlock.WithNodeTimeout(unhurried))
	require.NoError(t, err)
	handsOver(t, nodes)
	slot, err := client.MasterForKey(guarded(t), "{"+name+"}")
	require.NoError(t, err)
	i := slices.Index(addrs, slot.Options().Addr)
	require.Less(t, i, masters)
	c.Node(i).Kill(t)
	handsOver(t, nodes)
	role, err := c.Node(i+masters).Admin().Do(guarded(t), "ROLE").Slice()
	require.NoError(t, err)
	require.Equal(t, "master", role[0])
	require.NoError(t, nodes.Close(guarded(t)))
}

// While a slot moves, a server that has one key of two says TRYAGAIN: there is no tombstone.
func TestAHoldOutlivesTheMoveOfItsSlotToAnotherServer(t *testing.T) {
	t.Parallel()
	const masters = 3
	c := redistest.NewRedisCluster(t, masters)
	var addrs []string
	for _, n := range c.Nodes() {
		addrs = append(addrs, n.Addr())
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	defer func() { require.NoError(t, client.Close()) }()
	nodes, err := redlock.NewNodes([]redis.UniversalClient{client}, redlock.WithTTL(calm), redlock.WithNodeTimeout(patient))
	require.NoError(t, err)
	m, err := redlock.NewMutex(nodes, name)
	require.NoError(t, err)
	stays, err := m.Lock(guarded(t))
	require.NoError(t, err)

	slot, err := client.ClusterKeySlot(guarded(t), name).Result()
	require.NoError(t, err)
	master, err := client.MasterForKey(guarded(t), name)
	require.NoError(t, err)
	from := slices.Index(addrs, master.Options().Addr)
	to := (from + 1) % masters
	move := func(i int, how string, other int) {
		id, err := c.Node(other).Admin().ClusterMyID(guarded(t)).Result()
		require.NoError(t, err)
		require.NoError(t, c.Node(i).Admin().Do(guarded(t), "CLUSTER", "SETSLOT", slot, how, id).Err())
	}
	move(to, "IMPORTING", from)
	move(from, "MIGRATING", to)
	renewed := func() {
		for range 2 { // a renewal is an extension, too
			require.NoError(t, stays.Extend(guarded(t)))
		}
	}
	renewed()
	host, port, err := net.SplitHostPort(addrs[to])
	require.NoError(t, err)
	keys, err := c.Node(from).Admin().ClusterGetKeysInSlot(guarded(t), int(slot), 100).Result()
	require.NoError(t, err)
	require.Contains(t, keys, name)
	for _, key := range keys { // a busy machine leaves tombstones, too
		require.NoError(t, c.Node(from).Admin().Migrate(guarded(t), host, port, key, 0, patient).Err())
	}
	renewed()
	letGo(t, stays)
	for _, i := range []int{to, from} {
		move(i, "NODE", to)
	}
	handsOver(t, nodes)
	require.NoError(t, nodes.Close(guarded(t)))
}

// commands keeps what was sent to a server, in order.
type commands struct {
	mu  sync.Mutex
	all []string
}

func (*commands) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*commands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (c *commands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.mu.Lock()
		c.all = append(c.all, cmd.Name())
		c.mu.Unlock()
		return next(ctx, cmd)
	}
}

// before reports whether the first command was sent before the second.
func (c *commands) before(first, second string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, j := slices.Index(c.all, first), slices.Index(c.all, second)
	return i >= 0 && i < j
}

// Those that there are to other servers of a cluster are of no use to a lock.
func TestAConnectionIsMadeFirstToEachServerOfACluster(t *testing.T) {
	t.Parallel()
	c := redistest.NewRedisCluster(t, 3)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{c.Node(0).Addr()}})
	defer func() { require.NoError(t, client.Close()) }()
	var mu sync.Mutex
	sent := make(map[string]*commands)
	client.OnNewNode(func(server *redis.Client) {
		mu.Lock()
		defer mu.Unlock()
		sent[server.Options().Addr] = &commands{}
		server.AddHook(sent[server.Options().Addr])
	})
	nodes, err := redlock.NewNodes([]redis.UniversalClient{client}, redlock.WithTTL(calm), redlock.WithNodeTimeout(patient))
	require.NoError(t, err)
	cold := 0
	for _, name := range []string{"a", "b", "c", "d"} { // on all servers
		server, err := client.MasterForKey(guarded(t), name)
		require.NoError(t, err)
		connects := server.PoolStats().TotalConns == 0
		m, err := redlock.NewMutex(nodes, name)
		require.NoError(t, err)
		h, err := m.TryLock(guarded(t))
		require.NoError(t, err)
		unlock(t, h)
		if connects {
			mu.Lock()
			require.True(t, sent[server.Options().Addr].before("ping", "evalsha"), name)
			mu.Unlock()
			cold++
		}
	}
	require.Positive(t, cold, "who serves what was asked of some only")
	require.NoError(t, nodes.Close(guarded(t)))
}
