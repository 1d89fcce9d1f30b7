package redlock_test

import (
	"slices"
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
	require.NoError(t, h.Extend(guarded(t)))
	done := make(chan outcome, 1)
	go func() {
		h, err := m.Lock(guarded(t))
		done <- outcome{h, err}
	}()
	unlock(t, h)
	unlock(t, granted(t, done))
}

// Holds may be lost with the server, as the package says; the lock is not.
func TestALockGoesOnAfterASentinelHasMadeAReplicaTheMaster(t *testing.T) {
	t.Parallel()
	c := redistest.New(t, 2)
	c.Replicate(t, 1)
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: redistest.Master, SentinelAddrs: []string{c.NewSentinel(t)},
	})
	defer func() { require.NoError(t, client.Close()) }()
	nodes, err := redlock.NewNodes([]redis.UniversalClient{client})
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
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	defer func() { require.NoError(t, client.Close()) }()
	nodes, err := redlock.NewNodes([]redis.UniversalClient{client})
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
