package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

// Nodes are not out because callers have left before they were asked.
func TestAcquisitionsThatWereGivenUpBeforeTheyBeganAreNoOutage(t *testing.T) {
	t.Parallel()
	const conns, crowd, trip = 4, 50, 100 * time.Millisecond
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		var outages, granted atomic.Int64
		var l log
		nodes := pooled(t, v, n, conns, redlock.WithLogger(slog.New(slog.NewTextHandler(&l, nil))), redlock.WithObserver(redlock.Observer{
			NoQuorum: func(string) { outages.Add(1) },
			Granted:  func(redlock.Event) { granted.Add(1) },
		}))
		tryAll(t, nodes, 2*conns) // they connect
		granted.Store(0)
		slowly(v, n, trip)
		ctx, cancel := context.WithTimeout(t.Context(), trip*3/2)
		defer cancel()
		var all sync.WaitGroup
		for i := range crowd {
			m, err := redlock.NewMutex(nodes, fmt.Sprintf("given-up-%d", i))
			require.NoError(t, err)
			all.Go(func() {
				h, err := m.TryLock(ctx)
				if err == nil {
					err = h.Unlock(t.Context())
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		<-time.After(time.Minute)
		require.Positive(t, granted.Load())
		require.Less(t, granted.Load(), int64(crowd/2), "the others had no time")
		require.Zero(t, outages.Load())
		require.Empty(t, l.text())
	})
}

// What the node that is left has is of the waiter's own first attempt.
func TestAWaiterThatMeetsWhatItHasLeftSaysThatTheOthersAreGone(t *testing.T) {
	t.Parallel()
	inBubble(t, 3, func(t *testing.T, v *redistest.Virtual) {
		nodes := virtualNodes(t, v, 3)
		require.NoError(t, lockVirtual(t, nodes).Unlock(t.Context())) // connections, and scripts
		synctest.Wait()
		for i := range 2 {
			require.NoError(t, v.Wire(i).Redis().Set(name, "another"))
			v.Wire(i).Redis().SetTTL(name, time.Hour)
		}
		v.Wire(2).Delay(timeout / 10)
		m, err := redlock.NewMutex(nodes, name)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // it asks every second, and soon again
		defer cancel()
		locked := make(chan error)
		go func() {
			_, err := m.Lock(ctx)
			locked <- err
		}()
		token := tokenOfAttempt(t, v.Wire(2))
		v.Wire(0).Cut()
		v.Wire(1).Cut()
		require.NoError(t, v.Wire(2).Redis().Set(name, token)) // by a request that comes very late
		err = <-locked
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, quorum := errors.AsType[*redlock.QuorumError](err)
		require.True(t, quorum, "%v", err)
	})
}

// The first attempt is granted when its deadline has passed.
func TestAWaiterThatMeetsWhatALateAttemptHasLeftDoesNotNameItself(t *testing.T) {
	t.Parallel()
	const short, deadline = 5 * time.Millisecond, 550 * time.Microsecond
	inBubble(t, 1, func(t *testing.T, v *redistest.Virtual) {
		nodes := virtualNodes(t, v, 1, redlock.WithDrift(0.49), redlock.WithNodeTimeout(short/3))
		require.NoError(t, lockVirtual(t, nodes).Unlock(t.Context())) // connections, and scripts
		synctest.Wait()
		v.Wire(0).Delay(deadline)
		m, err := redlock.NewMutex(nodes, name, redlock.WithTTL(short))
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // it asks every second
		defer cancel()
		locked := make(chan error)
		go func() {
			_, err := m.Lock(ctx)
			locked <- err
		}()
		token := tokenOfAttempt(t, v.Wire(0))
		require.NoError(t, v.Wire(0).Redis().Set(name, token)) // by a request that comes very late
		err = <-locked
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "after the deadline")
		require.NotErrorIs(t, err, redlock.ErrLocked)
	})
}

// tokenOfAttempt waits until a node has given up what an attempt had got there, and returns its token.
func tokenOfAttempt(t *testing.T, w *redistest.Wire) string {
	t.Helper()
	const look = 100 * time.Microsecond
	for !w.Redis().Exists(name) {
		<-time.After(look)
	}
	token, err := w.Redis().Get(name)
	require.NoError(t, err)
	for w.Redis().Exists(name) {
		<-time.After(look)
	}
	return token
}
