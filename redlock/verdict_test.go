package redlock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

// What the end of a hold is told to be, and what is sent after it.

func TestUnlockSaysThatAQuorumHasTheKeyOfAnother(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		h := lockVirtual(t, virtualNodes(t, v, n), redlock.WithoutRenewal())
		for i := range n/2 + 1 {
			require.NoError(t, v.Wire(i).Redis().Set(name, "another"))
		}
		require.NoError(t, h.Err(), "nobody has noticed")
		require.ErrorIs(t, h.Unlock(t.Context()), redlock.ErrLost)
		synctest.Wait()
		for i := range n/2 + 1 {
			require.True(t, v.Wire(i).Redis().Exists(name), "it is not ours to delete")
		}
	})
}

func TestTheDeadlineCountsFromTheSendingHoweverLongTheWay(t *testing.T) {
	t.Parallel()
	const way = timeout / 10
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		nodes := virtualNodes(t, v, n)
		require.NoError(t, lockVirtual(t, nodes).Unlock(t.Context())) // connections, and scripts
		for i := range n {
			v.Wire(i).Delay(way)
		}
		sent := time.Now()
		h := lockVirtual(t, nodes)
		require.NotEqual(t, sent, time.Now())
		require.Equal(t, sent.Add(valid), h.Deadline())
		require.Equal(t, valid-time.Since(sent), h.Remaining())
		require.NoError(t, h.Unlock(t.Context()))
	})
}

func TestTheDeadlineOfAHoldThatHasEndedIsItsEnd(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		h := lockVirtual(t, virtualNodes(t, v, n))
		<-time.After(ttl / 4)
		require.NoError(t, h.Unlock(t.Context()))
		require.Equal(t, time.Now(), h.Deadline())
		<-time.After(ttl / 4)
		require.Equal(t, time.Now().Add(-ttl/4), h.Deadline())
	})
}

// The repetition finds nothing, since the first request has deleted the key.
func TestAReleaseWhoseReplyIsLostIsNoLoss(t *testing.T) {
	t.Parallel()
	onSizes(t, func(t *testing.T, c *redistest.Cluster) {
		p := newPeer(t, c).prepare(t, c)
		h := p.lock(t, name)
		awaitHeld(t, c, name, c.Size())
		for i := range c.Size() {
			p.net.To(i).DropNextReply()
		}
		unlock(t, h)
		awaitHeld(t, c, name, 0)
	})
}

// A node has lost the key, and is to have it again once a quorum has confirmed an extension.
// That comes when the lock has been released.
// Which of the two comes first when the nodes are back is left to chance, so there are several tries.
func TestNothingIsPutBackAfterTheRelease(t *testing.T) {
	t.Parallel()
	for range 20 {
		inBubble(t, 3, func(t *testing.T, v *redistest.Virtual) {
			h := lockVirtual(t, virtualNodes(t, v, 3), redlock.WithoutRenewal())
			v.Wire(0).Redis().Del(name)
			v.Wire(1).Cut()
			v.Wire(2).Cut()
			errs := make(chan error, 2)
			go func() { errs <- h.Extend(t.Context()) }()
			synctest.Wait() // the first has said that it has none
			go func() { errs <- h.Unlock(t.Context()) }()
			<-time.After(timeout / 2)
			v.Wire(1).Heal()
			v.Wire(2).Heal()
			_, _ = <-errs, <-errs // the extension may be told to have come too late
			synctest.Wait()
			for i := range 3 {
				require.False(t, v.Wire(i).Redis().Exists(name))
			}
		})
	}
}

func TestAReleaseThatANodeRefusesIsRepeated(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		h := lockVirtual(t, virtualNodes(t, v, n))
		v.Wire(0).Redis().SetError("LOADING") // an answer at once
		_ = h.Unlock(t.Context())             // the others may be a quorum
		synctest.Wait()
		require.True(t, v.Wire(0).Redis().Exists(name))
		v.Wire(0).Redis().SetError("")
		<-time.After(time.Second)
		synctest.Wait()
		require.False(t, v.Wire(0).Redis().Exists(name))
	})
}

// What is removed without knowing whether it is there leaves a tombstone.
func TestAReleaseWaitsForTheAcquisitionThatIsUnderWay(t *testing.T) {
	t.Parallel()
	inBubble(t, 3, func(t *testing.T, v *redistest.Virtual) {
		nodes := virtualNodes(t, v, 3)
		require.NoError(t, lockVirtual(t, nodes).Unlock(t.Context())) // connections, and scripts
		synctest.Wait()
		v.Wire(0).Delay(timeout / 10)
		h := lockVirtual(t, nodes)
		require.False(t, v.Wire(0).Redis().Exists(name), "the request is on its way")
		require.NoError(t, h.Unlock(t.Context()))
		<-time.After(timeout)
		synctest.Wait()
		require.Empty(t, v.Wire(0).Redis().Keys())
		v.Wire(0).Delay(0)
	})
}
