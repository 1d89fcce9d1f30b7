package compare_test

import (
	"context"
	"testing"

	"github.com/go-redsync/redsync/v4"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/redlock"
)

// A fleet may go over from redsync to package redlock release by release: on the same
// nodes and for the same name each excludes the other.
func TestRedsyncAndRedlockExcludeEachOther(t *testing.T) {
	t.Parallel()
	c := startNodes(t)
	var clients []redis.UniversalClient
	for _, client := range c.clients {
		clients = append(clients, client)
	}
	nodes, err := redlock.NewNodes(clients, redlock.WithNodeTimeout(redlock.DefaultTTL/3))
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), guard)
		defer cancel()
		require.NoError(t, nodes.Close(ctx))
	})
	ours, err := redlock.NewMutex(nodes, key)
	require.NoError(t, err)
	theirs := c.redsync().NewMutex(key, redsync.WithExpiry(longExpiry))

	require.NoError(t, theirs.TryLock())
	_, err = ours.TryLock(t.Context())
	require.ErrorIs(t, err, redlock.ErrLocked)
	ok, err := theirs.Extend()
	require.NoError(t, err)
	require.True(t, ok, "the attempt has not cost it a key")
	ok, err = theirs.Unlock()
	require.NoError(t, err)
	require.True(t, ok)

	h, err := ours.TryLock(t.Context())
	require.NoError(t, err)
	var taken *redsync.ErrTaken
	require.ErrorAs(t, theirs.TryLock(), &taken)
	require.NoError(t, h.Extend(t.Context()), "the attempt has not cost it a key")
	require.NoError(t, h.Unlock(t.Context()))

	require.NoError(t, theirs.TryLock(), "a release frees the lock for the other")
	_, err = theirs.Unlock()
	require.NoError(t, err)
}
