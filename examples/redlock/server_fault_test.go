package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
)

func TestFaultsOfNodesThatAreOurOwnAndOfOthers(t *testing.T) {
	t.Parallel()
	ours, err := openServers(t.Context(), nil, 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, ours.close()) }()
	n := ours.list[0]
	theirs, err := openServers(t.Context(), []string{n.addr}, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, theirs.close()) }()

	set := func() { require.NoError(t, n.admin.Set(t.Context(), "key", "v", time.Minute).Err()) }
	gone := func() bool { return n.admin.Exists(t.Context(), "key").Val() == 0 }
	for _, s := range []*server{n, theirs.list[0]} {
		set()
		require.NoError(t, s.jump(t.Context(), "key", time.Second))
		assert.False(t, gone())
		require.NoError(t, s.jump(t.Context(), "key", time.Hour))
		assert.True(t, gone())
		set()
		require.NoError(t, s.restart(t.Context(), "key"))
		assert.True(t, gone())
	}
	require.ErrorIs(t, theirs.list[0].kill(), errElsewhere)
	require.NoError(t, n.kill())
	require.Error(t, n.admin.Ping(t.Context()).Err())
}

func TestTheEldestNodesComeFirst(t *testing.T) {
	t.Parallel()
	s := &servers{list: []*server{{number: 1}, {number: 2}, {number: 3}}}
	s.list[0].since = time.Now()
	var order []int
	for _, n := range s.eldestFirst() {
		order = append(order, n.number)
	}
	assert.Equal(t, []int{2, 3, 1}, order)
	assert.Equal(t, 2, s.quorum())
	assert.Equal(t, 1, s.minority())
}

func TestARenewalIsAwaitedForAsLongAsTheContextLasts(t *testing.T) {
	t.Parallel()
	c := redistest.NewEmbedded(t, 1)
	n := &server{admin: c.Node(0).Admin()}
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, n.admin.Set(ctx, "key", "v", time.Minute).Err())
	renewed := make(chan error, 1)
	go func() { renewed <- n.awaitRenewal(ctx, "key") }()
	require.Eventually(t, func() bool {
		require.NoError(t, n.admin.PExpire(t.Context(), "key", time.Hour).Err())
		require.NoError(t, n.admin.PExpire(t.Context(), "key", time.Minute).Err())
		return len(renewed) == 1
	}, 30*time.Second, 7*time.Millisecond)
	require.NoError(t, <-renewed)
	cancel()
	require.ErrorIs(t, n.awaitRenewal(ctx, "key"), context.Canceled)
}
