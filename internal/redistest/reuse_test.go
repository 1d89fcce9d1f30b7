package redistest_test

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
)

// It is not parallel, so that nobody else takes the process.
func TestAProcessIsLeftToTheNextTestUnlessItIsChanged(t *testing.T) {
	redistest.New(t, 0) // a test that goes on
	over := t.Cleanup
	var first, second, fourth string
	t.Run("first", func(t *testing.T) {
		n := redistest.New(t, 1).Node(0)
		first = n.Addr()
		client := redis.NewClient(&redis.Options{Addr: first})
		t.Cleanup(func() { _ = client.Close() })
		require.NoError(t, client.Set(t.Context(), "key", "value", 0).Err())
		require.NoError(t, client.Eval(t.Context(), "return 1", nil).Err())
		stays := redis.NewClient(&redis.Options{Addr: first, ClientName: "stays"})
		over(func() { _ = stays.Close() })
		subscription := stays.Subscribe(t.Context(), "channel")
		over(func() { _ = subscription.Close() })
		_, err := subscription.Receive(t.Context())
		require.NoError(t, err)
		require.NoError(t, stays.Ping(t.Context()).Err())
	})
	t.Run("second", func(t *testing.T) {
		n := redistest.New(t, 1).Node(0)
		second = n.Addr()
		require.Equal(t, first, second)
		require.Zero(t, n.Admin().Exists(t.Context(), "key").Val())
		require.NotContains(t, n.Admin().ClientList(t.Context()).Val(), "name=stays")
		require.Zero(t, n.Admin().PubSubNumSub(t.Context(), "channel").Val()["channel"])
		require.ErrorContains(t, n.Admin().EvalSha(t.Context(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", nil).Err(), "NOSCRIPT")
		require.NoError(t, n.Admin().ConfigSet(t.Context(), "maxclients", "20").Err())
	})
	t.Run("third", func(t *testing.T) {
		n := redistest.New(t, 1).Node(0)
		require.Equal(t, "10000", n.Admin().ConfigGet(t.Context(), "maxclients").Val()["maxclients"])
	})
	t.Run("fourth", func(t *testing.T) {
		n := redistest.New(t, 1).Node(0)
		fourth = n.Addr()
		require.NoError(t, n.Suspend())
		require.NoError(t, n.Resume())
	})
	t.Run("fifth", func(t *testing.T) {
		require.NotEqual(t, fourth, redistest.New(t, 1).Node(0).Addr())
	})
}
