package redlock_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/redlock"
)

// onSizes runs a test on one, three and five nodes of both kinds.
func onSizes(t *testing.T, test func(t *testing.T, c *redistest.Cluster)) {
	t.Helper()
	for _, n := range sizes() {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			onBoth(t, n, test)
		})
	}
}

func TestALockIsHeldOnAllNodesUntilItIsUnlocked(t *testing.T) {
	t.Parallel()
	onSizes(t, func(t *testing.T, c *redistest.Cluster) {
		p := newPeer(t, c)
		h := p.lock(t, name)
		require.Equal(t, name, h.Name())
		require.NoError(t, h.Err())
		awaitHeld(t, c, name, c.Size())
		for i := range c.Size() {
			require.Equal(t, value(t, c, 0, name), value(t, c, i, name), "one token")
			require.Greater(t, pttl(t, c, i, name), calm-guard)
		}
		_, err := newPeer(t, c).mutex(t, name).TryLock(guarded(t))
		require.ErrorIs(t, err, redlock.ErrLocked)

		unlock(t, h)
		unlock(t, h) // again
		require.ErrorIs(t, h.Err(), redlock.ErrReleased)
		require.ErrorIs(t, context.Cause(h.Context()), redlock.ErrReleased)
		require.ErrorIs(t, h.Extend(guarded(t)), redlock.ErrReleased)
		require.LessOrEqual(t, h.Remaining(), time.Duration(0))
		awaitHeld(t, c, name, 0)
		for i := range c.Size() {
			require.Zero(t, tombstones(t, c, i), "all was certain")
		}
	})
}

func TestTheDeadlineCountsFromBeforeTheFirstRequest(t *testing.T) {
	t.Parallel()
	onSizes(t, func(t *testing.T, c *redistest.Cluster) {
		p := newPeer(t, c)
		valid := calm - calm/100 - redlock.MinDrift
		before := time.Now()
		h := p.lock(t, name)
		after := time.Now()
		require.False(t, h.Deadline().Before(before.Add(valid)))
		require.False(t, h.Deadline().After(after.Add(valid)))
		require.LessOrEqual(t, h.Remaining(), valid)
		require.Greater(t, h.Remaining(), valid-guard)

		before = time.Now()
		require.NoError(t, h.Extend(guarded(t)))
		after = time.Now()
		require.False(t, h.Deadline().Before(before.Add(valid)))
		require.False(t, h.Deadline().After(after.Add(valid)))
		unlock(t, h)
	})
}

func TestHoldersExcludeEachOther(t *testing.T) {
	t.Parallel()
	const contenders = 6
	rounds := suite.Long(4, 8)
	onSizes(t, func(t *testing.T, c *redistest.Cluster) {
		shared := newPeer(t, c)
		var wg sync.WaitGroup
		var inside sync.Mutex // never contended
		entries := 0
		for i := range contenders {
			p := shared // half of them are goroutines of one process, with one Mutex
			if i%2 == 0 {
				p = newPeer(t, c)
			}
			m := p.mutex(t, name)
			wg.Go(func() {
				for range rounds {
					err := m.Do(guarded(t), func(context.Context, *redlock.Hold) error {
						if !inside.TryLock() {
							return errors.New("two in one section")
						}
						defer inside.Unlock()
						entries++
						runtime.Gosched()
						return nil
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		require.Equal(t, contenders*rounds, entries)
		awaitHeld(t, c, name, 0)
	})
}

func TestTryLockOnALockThatIsHeldSaysForHowLong(t *testing.T) {
	t.Parallel()
	onSizes(t, func(t *testing.T, c *redistest.Cluster) {
		p := newPeer(t, c)
		h := p.lock(t, name)
		_, err := p.mutex(t, name).TryLock(guarded(t))
		locked, ok := errors.AsType[*redlock.LockedError](err)
		require.True(t, ok, "%v", err)
		require.ErrorIs(t, err, redlock.ErrLocked)
		require.Equal(t, name, locked.Name)
		require.LessOrEqual(t, locked.Remaining, calm+time.Millisecond)
		require.Greater(t, locked.Remaining, calm-guard)
		unlock(t, h)
	})
}

func TestAKeyWithoutExpiryIsALockOfUnknownDuration(t *testing.T) {
	t.Parallel()
	onBoth(t, 1, func(t *testing.T, c *redistest.Cluster) {
		require.NoError(t, c.Node(0).Admin().Set(guarded(t), name, "somebody", 0).Err())
		_, err := newPeer(t, c).mutex(t, name).TryLock(guarded(t))
		locked, ok := errors.AsType[*redlock.LockedError](err)
		require.True(t, ok, "%v", err)
		require.Zero(t, locked.Remaining)
		require.Equal(t, "somebody", value(t, c, 0, name))
	})
}

func TestAKeyThatIsNotAStringIsAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	onBoth(t, 1, func(t *testing.T, c *redistest.Cluster) {
		require.NoError(t, c.Node(0).Admin().HSet(guarded(t), name, "field", "value").Err())
		_, err := newPeer(t, c).mutex(t, name).Lock(guarded(t))
		require.ErrorContains(t, err, "WRONGTYPE")
		require.NotErrorIs(t, err, context.DeadlineExceeded, "not tried until the end")
		quorum, ok := errors.AsType[*redlock.QuorumError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, redlock.NodeFailed, quorum.Nodes[0].State)
	})
}

func TestAnAcquisitionWithAContextThatIsDoneFails(t *testing.T) {
	t.Parallel()
	c := redistest.NewEmbedded(t, 3)
	p := newPeer(t, c)
	calls := p.net.Calls()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.mutex(t, name).Lock(ctx)
	require.ErrorIs(t, err, context.Canceled)
	_, err = p.mutex(t, name).TryLock(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, calls, p.net.Calls(), "nothing is sent")
}

func TestWaitingEndsWithTheContextAndLeavesNothing(t *testing.T) {
	t.Parallel()
	onSizes(t, func(t *testing.T, c *redistest.Cluster) {
		p, other := newPeer(t, c), newPeer(t, c)
		h := p.lock(t, name)
		awaitHeld(t, c, name, c.Size())
		token := value(t, c, 0, name)
		ctx, cancel := context.WithCancelCause(t.Context())
		waiting := other.queueUp(ctx, t, c, name)
		why := errors.New("enough")
		cancel(why)
		o := await(t, waiting, "Lock returns")
		require.ErrorIs(t, o.err, context.Canceled)
		require.ErrorIs(t, o.err, why)
		require.ErrorIs(t, o.err, redlock.ErrLocked, "the last attempt")
		require.NoError(t, other.Close(guarded(t)))
		for i := range c.Size() {
			require.Equal(t, token, value(t, c, i, name))
		}
		unlock(t, h)
		awaitHeld(t, c, name, 0)
	})
}

func TestAReleaseWakesOneWaiterOfAProcess(t *testing.T) {
	t.Parallel()
	onSizes(t, func(t *testing.T, c *redistest.Cluster) {
		p, other := newPeer(t, c), newPeer(t, c)
		h := p.lock(t, name)
		first := other.queueUp(guarded(t), t, c, name)
		second := other.lockSoon(guarded(t), t, name)
		unlock(t, h)
		select { // in any order: there is no queue
		case o := <-first:
			require.NoError(t, o.err)
			stillWaits(t, second)
			unlock(t, o.hold)
			unlock(t, granted(t, second))
		case o := <-second:
			require.NoError(t, o.err)
			stillWaits(t, first)
			unlock(t, o.hold)
			unlock(t, granted(t, first))
		case <-time.After(guard):
			require.Fail(t, "nobody was woken")
		}
	})
}

func TestDoEndsItsContextAndUnlocks(t *testing.T) {
	t.Parallel()
	c := redistest.NewEmbedded(t, 3)
	p := newPeer(t, c)
	m := p.mutex(t, name)
	mine := errors.New("mine")
	contexts := make(chan context.Context, 1)
	require.ErrorIs(t, m.Do(guarded(t), func(ctx context.Context, _ *redlock.Hold) error {
		contexts <- ctx
		require.NoError(t, ctx.Err())
		require.ErrorIs(t, m.TryDo(ctx, func(context.Context, *redlock.Hold) error { return nil }), redlock.ErrLocked)
		return mine
	}), mine)
	require.Error(t, (<-contexts).Err())
	require.Panics(t, func() {
		_ = m.TryDo(guarded(t), func(context.Context, *redlock.Hold) error { panic("fn") })
	})
	awaitHeld(t, c, name, 0)
}

func TestDoSaysThatTheLockWasLost(t *testing.T) {
	t.Parallel()
	onBoth(t, 3, func(t *testing.T, c *redistest.Cluster) {
		p := newPeer(t, c)
		err := p.mutex(t, name).Do(guarded(t), func(ctx context.Context, h *redlock.Hold) error {
			awaitHeld(t, c, name, 3)
			for i := range 3 {
				require.NoError(t, c.Node(i).Admin().Del(ctx, name).Err())
			}
			require.ErrorIs(t, h.Extend(ctx), redlock.ErrLost)
			require.ErrorIs(t, context.Cause(ctx), redlock.ErrLost)
			return nil
		})
		require.ErrorIs(t, err, redlock.ErrLost)
	})
}

func TestWithEndsWithTheHoldAndWithItsContext(t *testing.T) {
	t.Parallel()
	p := newPeer(t, redistest.NewEmbedded(t, 1))
	h := p.lock(t, name)
	first, end := h.With(t.Context())
	second, done := h.With(t.Context())
	defer done()
	end()
	require.Error(t, first.Err())
	require.NoError(t, second.Err())
	unlock(t, h)
	require.ErrorIs(t, context.Cause(second), redlock.ErrReleased)
	late, over := h.With(t.Context())
	over()
	require.ErrorIs(t, context.Cause(late), redlock.ErrReleased)
}

func TestUnlockWithADoneContextReleasesInTheBackground(t *testing.T) {
	t.Parallel()
	onSizes(t, func(t *testing.T, c *redistest.Cluster) {
		p := newPeer(t, c)
		h := p.lock(t, name)
		for i := range c.Size() {
			p.net.To(i).Blackhole()
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, h.Unlock(ctx), context.Canceled)
		require.ErrorIs(t, h.Err(), redlock.ErrReleased)
		p.net.Heal()
		awaitHeld(t, c, name, 0)
		unlock(t, h)
	})
}

func TestUnlockWithAContextOfTheHoldWaits(t *testing.T) {
	t.Parallel()
	onSizes(t, func(t *testing.T, c *redistest.Cluster) {
		h := newPeer(t, c).lock(t, name)
		ctx, cancel := h.With(guarded(t))
		defer cancel()
		require.NoError(t, h.Unlock(ctx), "its end is that of the hold")
	})
}

func TestLocksOfDifferentNamesAreIndependent(t *testing.T) {
	t.Parallel()
	p := newPeer(t, redistest.NewEmbedded(t, 3), redlock.WithKeyPrefix("app:"))
	for _, name := range []string{"a", "a/b", "{a}", "{a}b", "a:gone:b", "a b", "ä"} {
		unlock(t, p.lock(t, name))
		p.lock(t, name)
	}
}

// The server refuses scripts whose keys are in different slots.
func TestAClusterIsANodeAndALockIsInOneSlot(t *testing.T) {
	t.Parallel()
	c := redistest.New(t, 1, redistest.WithRedisCluster())
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{c.Node(0).Addr()}})
	defer func() { require.NoError(t, client.Close()) }()
	nodes, err := redlock.NewNodes([]redis.UniversalClient{client}, redlock.WithTTL(calm), redlock.WithNodeTimeout(patient))
	require.NoError(t, err)
	for _, name := range []string{"a", "{a}", "{a}b", "a{b}c{d}", "a{b", "{{a}}"} {
		m, err := redlock.NewMutex(nodes, name)
		require.NoError(t, err)
		h, err := m.Lock(guarded(t))
		require.NoError(t, err)
		require.NoError(t, h.Extend(guarded(t)))
		waiting := make(chan error, 1)
		go func() {
			waiting <- m.Do(guarded(t), func(context.Context, *redlock.Hold) error { return nil })
		}()
		unlock(t, h)
		require.NoError(t, await(t, waiting, "the next is granted"))
	}
	require.NoError(t, nodes.Close(guarded(t)))
}

func TestBadInputIsRefused(t *testing.T) {
	t.Parallel()
	nodes := newPeer(t, redistest.NewEmbedded(t, 1))
	for _, tc := range []struct{ name, want string }{
		{"", "is empty"},
		{strings.Repeat("x", redlock.MaxName+1), "1025 bytes"},
		{"a\nb", "control character"},
		{"\xff", "UTF-8"},
		{"a}b", "hash tag"},
		{"{}a", "hash tag"},
	} {
		_, err := redlock.NewMutex(nodes.Nodes, tc.name)
		require.ErrorContains(t, err, tc.want)
		require.ErrorContains(t, err, "redlock: name")
	}
	_, err := redlock.NewMutex(nil, name)
	require.ErrorContains(t, err, "nodes are nil")
	_, err = redlock.NewMutex(&redlock.Nodes{}, name)
	require.ErrorContains(t, err, "NewNodes")
	_, err = redlock.NewMutex(nodes.Nodes, name, nil)
	require.ErrorContains(t, err, "option is nil")
	_, err = redlock.NewMutex(nodes.Nodes, name, redlock.WithTTL(time.Second))
	require.ErrorContains(t, err, "node timeout 30s: must be at most a third of the TTL 1s")
}
