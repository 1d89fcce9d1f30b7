package redlock_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
)

// What other Redis locks get wrong, shown absent. Clients have go-redis's default
// settings, with which it ignores deadlines of contexts and waits five seconds for a
// reply; internal/compare shows what redsync makes of them.

func TestExtendKeepsALockThatAMajorityHasRenewedWhileANodeHangs(t *testing.T) {
	t.Parallel()
	onBoth(t, 3, func(t *testing.T, c *redistest.Cluster) {
		p := newPeer(t, c).prepare(t, c)
		h := p.lock(t, name)
		awaitHeld(t, c, name, 3)
		for i := range 3 { // so that a renewal shows
			require.NoError(t, c.Node(i).Admin().PExpire(guarded(t), name, calm/2).Err())
		}
		p.net.To(0).Blackhole()
		before := h.Deadline()
		require.NoError(t, h.Extend(guarded(t)), "the node timeout has not passed")
		require.True(t, h.Deadline().After(before))
		require.Greater(t, pttl(t, c, 1, name), calm/2)
		require.Greater(t, pttl(t, c, 2, name), calm/2)
		unlock(t, h)
	})
}

func TestACancelledLockLeavesNoKeyOnAHealthyNode(t *testing.T) {
	t.Parallel()
	onBoth(t, 3, func(t *testing.T, c *redistest.Cluster) {
		// One node hangs, one has voted for another contender: undecided.
		p := newPeer(t, c).prepare(t, c)
		require.NoError(t, c.Node(1).Admin().Set(guarded(t), name, "another contender", time.Hour).Err())
		p.net.To(0).Blackhole()
		ctx, cancel := context.WithCancel(t.Context())
		done := p.lockSoon(ctx, t, name)
		eventually(t, func() bool { return value(t, c, 2, name) != "" }, "the healthy node has granted it")
		stillWaits(t, done)
		cancel()
		require.ErrorIs(t, await(t, done, "Lock returns").err, context.Canceled)
		eventually(t, func() bool { return value(t, c, 2, name) == "" }, "removed")
		p.net.Heal()
		require.NoError(t, p.Close(guarded(t)), "all calls have ended")
		require.Empty(t, value(t, c, 0, name), "also where the request came late")
		require.Empty(t, value(t, c, 2, name))
		require.Equal(t, "another contender", value(t, c, 1, name))
	})
}

func TestUnlockLeavesNoKeyOnANodeThatHungAllTheTime(t *testing.T) {
	t.Parallel()
	onBoth(t, 3, func(t *testing.T, c *redistest.Cluster) {
		newPeer(t, c).prepare(t, c)
		p := newPeer(t, c)
		p.net.To(0).Blackhole()
		h := p.lock(t, name)
		unlock(t, h)
		p.net.Heal()
		require.NoError(t, p.Close(guarded(t)), "all calls have ended")
		require.Zero(t, held(t, c, name))
	})
}

func TestALockWhoseContextEndsDoesNotSucceedLater(t *testing.T) {
	t.Parallel()
	onBoth(t, 3, func(t *testing.T, c *redistest.Cluster) {
		p := newPeer(t, c).prepare(t, c)
		p.net.To(0).Blackhole()
		p.net.To(1).BlackholeToClient()
		ctx, cancel := context.WithCancel(t.Context())
		done := p.lockSoon(ctx, t, name)
		eventually(t, func() bool { return held(t, c, name) == 2 }, "two of three have granted it")
		cancel()
		require.ErrorIs(t, await(t, done, "Lock returns").err, context.Canceled)
		p.net.Heal()
		require.NoError(t, p.Close(guarded(t)))
		require.Zero(t, held(t, c, name))
	})
}

// With SET NX the repetition finds its own key and takes it for another's.
func TestALostReplyDoesNotLockTheLockAgainstItself(t *testing.T) {
	t.Parallel()
	onSizes(t, func(t *testing.T, c *redistest.Cluster) {
		p := newPeer(t, c).prepare(t, c)
		for i := range c.Size() {
			p.net.To(i).DropNextReply()
		}
		h, err := p.mutex(t, name).TryLock(guarded(t))
		require.NoError(t, err)
		awaitHeld(t, c, name, c.Size())
		unlock(t, h)
		awaitHeld(t, c, name, 0)
	})
}

func TestHandoversDoNotWaitForAPoll(t *testing.T) {
	t.Parallel()
	onSizes(t, func(t *testing.T, c *redistest.Cluster) {
		// With a poll a second as the only way they would take twice the guard.
		const handovers = 120
		a, b := newPeer(t, c), newPeer(t, c)
		h := a.lock(t, name)
		ctx := guarded(t)
		for i := range handovers {
			next := []*peer{a, b}[(i+1)%2].lockSoon(ctx, t, name)
			unlock(t, h)
			h = granted(t, next)
		}
		unlock(t, h)
	})
}
