package lease_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

func TestASessionWaitsForItsBackgroundWork(t *testing.T) {
	t.Parallel()
	s := newSession(t, etcdtest.New(t).Client(t), lease.WithTTL(calm))
	ended, finish, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	require.True(t, s.Go(func(ctx context.Context) {
		defer close(done)
		<-ctx.Done()
		close(ended)
		<-finish
	}))
	require.NoError(t, s.Context().Err())
	ctx, cancel := context.WithCancel(guarded(t))
	failed := make(chan error, 1)
	go func() { failed <- s.Close(ctx) }()
	await(t, ended, "the work's context ends with the session")
	require.ErrorIs(t, context.Cause(s.Context()), lease.ErrClosed)
	cancel()
	require.ErrorIs(t, await(t, failed, "Close returns"), context.Canceled, "it waits no longer than it may")
	require.False(t, s.Go(func(context.Context) { t.Error("begun after the end") }))
	close(finish)
	require.NoError(t, s.Close(guarded(t)))
	require.True(t, isClosed(done))
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestUsersOfASessionShareWhatTheyAgreeOn(t *testing.T) {
	t.Parallel()
	client := etcdtest.New(t).Client(t)
	s, other := newSession(t, client, lease.WithTTL(calm)), newSession(t, client, lease.WithTTL(calm))
	type key struct{}
	s.Shared().Store(key{}, 1)
	v, ok := s.Shared().Load(key{})
	require.True(t, ok)
	require.Equal(t, 1, v)
	_, ok = other.Shared().Load(key{})
	require.False(t, ok)
}
