package lease_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/lease"
)

func TestASessionWaitsForItsBackgroundWork(t *testing.T) {
	t.Parallel()
	s := newSession(t, etcdtest.New(t).Client(t), lease.WithTTL(calm))
	ended, finish, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	require.True(t, inside.Of(s).Go(func(ctx context.Context) {
		defer close(done)
		<-ctx.Done()
		close(ended)
		<-finish
	}))
	require.NoError(t, inside.Of(s).Context().Err())
	ctx, cancel := context.WithCancel(guarded(t))
	failed := make(chan error, 1)
	go func() { failed <- s.Close(ctx) }()
	await(t, ended, "the work's context ends with the session")
	require.ErrorIs(t, context.Cause(inside.Of(s).Context()), lease.ErrClosed)
	cancel()
	require.ErrorIs(t, await(t, failed, "Close returns"), context.Canceled, "it waits no longer than it may")
	require.False(t, inside.Of(s).Go(func(context.Context) { t.Error("begun after the end") }))
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
	inside.Of(s).Shared().Store(key{}, 1)
	v, ok := inside.Of(s).Shared().Load(key{})
	require.True(t, ok)
	require.Equal(t, 1, v)
	_, ok = inside.Of(other).Shared().Load(key{})
	require.False(t, ok)
}

func TestASessionKnowsItsGrace(t *testing.T) {
	t.Parallel()
	client := etcdtest.New(t).Client(t)
	for grace, opts := range map[time.Duration][]lease.Option{
		lease.DefaultGrace: nil,
		0:                  {lease.WithGrace(0)},
		time.Minute:        {lease.WithGrace(time.Minute)},
	} {
		require.Equal(t, grace, inside.Of(newSession(t, client, opts...)).Grace())
	}
}

func TestTheUsersOfALeaseAreToldOfItsEndBeforeItIsRevoked(t *testing.T) {
	t.Parallel()
	var rec etcdtest.Recorder
	l := newLease(t, etcdtest.New(t).Client(t, etcdtest.WithRecorder(&rec)), lease.WithTTL(calm))
	told := make(chan struct{})
	inside.Keys(l).Add("key", func(*mvccpb.KeyValue, int64) {}, func() { close(told) })
	rec.Hook("LeaseRevoke", func(_ context.Context, _ any, invoke func() error) error {
		if !isClosed(told) {
			t.Error("the lease is revoked before its users know that it has ended")
		}
		return invoke()
	})
	require.NoError(t, l.Close(guarded(t)))
	require.True(t, isClosed(told))
}
