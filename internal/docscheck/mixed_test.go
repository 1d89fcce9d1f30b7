package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// docs/migrating.md advises a mutex for fleets in which some still campaign with the
// official client.
func TestOldCandidatesAndAMutexInTheirLayoutExcludeEachOther(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	defer cancel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "scheduler"
	s, err := concurrency.NewSession(c.Client(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	old := concurrency.NewElection(s, name)
	session, err := lease.NewSession(ctx, c.Client(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, session.Close(context.WithoutCancel(ctx))) }()
	gate, err := lock.NewMutex(session, name, lock.WithEtcdLayout())
	require.NoError(t, err)

	require.NoError(t, old.Campaign(ctx, "old"))
	_, err = gate.TryLock(ctx)
	require.ErrorIs(t, err, lock.ErrLocked)
	require.NoError(t, old.Resign(ctx))

	h, err := gate.Lock(ctx)
	require.NoError(t, err)
	won := make(chan error, 1)
	go func() { won <- old.Campaign(ctx, "old again") }()
	require.Eventually(t, func() bool {
		entries, err := lock.Inspect(ctx, c.Client(t), name, lock.WithEtcdLayout())
		return err == nil && len(entries) == 2
	}, guard, guard/1000, "the old one waits")
	require.Empty(t, won, "both lead")
	require.NoError(t, h.Unlock(ctx))
	require.NoError(t, <-won)
}
