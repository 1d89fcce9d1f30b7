package lock_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lock"
)

func TestFenceRefusesTokensBelowTheHighestSeen(t *testing.T) {
	t.Parallel()
	var f lock.Fence
	require.Zero(t, f.Highest())
	require.NoError(t, f.Check(0))
	require.NoError(t, f.Check(token1042))
	require.NoError(t, f.Check(token1042), "a holder may come again")
	require.NoError(t, f.Check(token1042dr))
	require.Equal(t, token1042dr, f.Highest())

	err := f.Check(token1042)
	var stale *lock.StaleTokenError
	require.ErrorAs(t, err, &stale)
	require.Equal(t, lock.StaleTokenError{Token: token1042, Highest: token1042dr}, *stale)
	require.EqualError(t, err, "lock: token 1042 is stale: 1042.3 has been seen")
	require.Equal(t, token1042dr, f.Highest())

	require.ErrorAs(t, f.Do(token1042, func() error {
		t.Error("fn was called")
		return nil
	}), &stale)
}

func TestFenceDoReturnsItsFunctionsErrorAndSurvivesItsPanic(t *testing.T) {
	t.Parallel()
	var f lock.Fence
	why := errors.New("why")
	require.Equal(t, why, f.Do(token1042, func() error { return why }))
	require.Equal(t, token1042, f.Highest())
	require.Panics(t, func() { _ = f.Do(token1042, func() error { panic("why") }) })
	require.NoError(t, f.Check(token1042dr))
}

func TestFenceLetsNoNewerTokenPassWhileAFunctionRuns(t *testing.T) {
	t.Parallel()
	var f lock.Fence
	inside, leave, newer := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		newer <- f.Do(token1042, func() error {
			close(inside)
			<-leave
			return nil
		})
	}()
	await(t, inside, "fn runs")
	passed := make(chan error, 1)
	go func() { passed <- f.Check(token1042dr) }()
	select {
	case err := <-passed:
		require.Fail(t, "a newer token has passed", "%v", err)
	default:
	}
	close(leave)
	require.NoError(t, await(t, newer, "fn returns"))
	require.NoError(t, await(t, passed, "the newer token passes"))
}

func TestFenceNeverActsForAnOlderTokenAfterANewer(t *testing.T) {
	t.Parallel()
	var f lock.Fence
	var last lock.Token
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 500 {
				token := lock.Token(n*8 + i)
				_ = f.Do(token, func() error {
					if token < last {
						t.Errorf("%v after %v", token, last)
					}
					last = token
					return nil
				})
			}
		})
	}
	wg.Wait()
	require.Equal(t, last, f.Highest())
}

func TestFenceStopsAHolderWhoWasSuperseded(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "m"
	old, next := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
	var f lock.Fence
	h := old.lock(t, name)
	require.NoError(t, f.Check(h.Token()))
	remove(t, next.Client, h.Key()) // and the old holder does not know
	successor := next.lock(t, name)
	require.NoError(t, f.Check(successor.Token()))
	require.NoError(t, h.Err())
	var stale *lock.StaleTokenError
	require.ErrorAs(t, f.Check(h.Token()), &stale)
	unlock(t, successor)
}
