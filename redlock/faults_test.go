package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/redlock"
)

// fault is something that is wrong with a node.
type fault struct {
	name  string
	begin func(t *testing.T, c *redistest.Cluster, p *peer, i int)
	// answers says that the node votes, late perhaps; forgets that it lost its keys.
	answers, forgets bool
	only             string // the kind of cluster that can have it, both if empty
}

func faults() []fault {
	return []fault{
		{name: "hung", begin: func(_ *testing.T, _ *redistest.Cluster, p *peer, i int) { p.net.To(i).Blackhole() }},
		{name: "vanished", begin: func(_ *testing.T, _ *redistest.Cluster, p *peer, i int) { p.net.To(i).HalfOpen() }},
		{name: "unreachable", begin: func(_ *testing.T, _ *redistest.Cluster, p *peer, i int) { p.net.To(i).Refuse() }},
		{name: "silent", begin: func(_ *testing.T, _ *redistest.Cluster, p *peer, i int) { p.net.To(i).BlackholeToClient() }},
		{name: "stopped", only: "redis-server", begin: func(t *testing.T, c *redistest.Cluster, _ *peer, i int) {
			t.Helper()
			c.Node(i).Stop(t)
			t.Cleanup(func() { c.Node(i).Continue(t) })
		}},
		{name: "killed", forgets: true, begin: func(t *testing.T, c *redistest.Cluster, _ *peer, i int) { t.Helper(); c.Node(i).Kill(t) }},
		{name: "loading", only: "embedded", begin: func(t *testing.T, c *redistest.Cluster, _ *peer, i int) {
			t.Helper()
			c.Node(i).Load(t, true)
			t.Cleanup(func() { c.Node(i).Load(t, false) })
		}},
		{name: "slow", answers: true, begin: func(_ *testing.T, _ *redistest.Cluster, p *peer, i int) { p.net.To(i).Delay(20 * time.Millisecond) }},
		{name: "losing a reply", answers: true, begin: func(_ *testing.T, _ *redistest.Cluster, p *peer, i int) { p.net.To(i).DropNextReply() }},
		{name: "restarted empty", answers: true, forgets: true, begin: func(t *testing.T, c *redistest.Cluster, _ *peer, i int) { t.Helper(); c.Node(i).Restart(t) }},
	}
}

// onFaults runs a test with each of these faults on bad of five nodes.
func onFaults(t *testing.T, which func(fault) bool, bad []int, test func(t *testing.T, c *redistest.Cluster, f fault, bad int)) {
	t.Helper()
	for _, f := range faults() {
		if !which(f) {
			continue
		}
		for _, n := range bad {
			t.Run(fmt.Sprintf("%d %s", n, f.name), func(t *testing.T) {
				t.Parallel()
				with := func(t *testing.T, c *redistest.Cluster) { t.Helper(); test(t, c, f, n) }
				switch f.only {
				case "redis-server":
					onProcesses(t, 5, with)
				case "embedded":
					onEmbedded(t, 5, with)
				default:
					onBoth(t, 5, with)
				}
			})
		}
	}
}

// The node timeout is so long that any wait for a bad node would be noticed.
func TestAMinorityThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	onFaults(t, func(fault) bool { return true }, suite.Long([]int{2}, []int{1, 2}), func(t *testing.T, c *redistest.Cluster, f fault, bad int) {
		p := newPeer(t, c).prepare(t, c)
		before := p.lock(t, "before")
		awaitHeld(t, c, "before", 5)
		for i := range bad {
			f.begin(t, c, p, i)
		}
		h := p.lock(t, name)
		require.NoError(t, h.Extend(guarded(t)))
		unlock(t, h)
		require.NoError(t, before.Extend(guarded(t)))
		unlock(t, before)
		again := p.lock(t, name)
		unlock(t, again)
	})
}

func TestAMajorityThatFailsStopsEverythingInTime(t *testing.T) {
	t.Parallel()
	onFaults(t, func(f fault) bool { return !f.answers }, []int{3}, func(t *testing.T, c *redistest.Cluster, f fault, bad int) {
		newPeer(t, c).prepare(t, c)
		p := newPeer(t, c, redlock.WithNodeTimeout(300*time.Millisecond))
		before := p.lock(t, "before")
		eventually(t, func() bool {
			// On a busy machine some nodes may have been too late to count.
			return before.Extend(guarded(t)) == nil && held(t, c, "before") == 5
		}, "every node has the key")
		for i := range bad {
			f.begin(t, c, p, i)
		}
		_, err := p.mutex(t, name).TryLock(guarded(t))
		requireQuorumError(t, err, "acquire", bad)
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		defer cancel()
		_, err = p.mutex(t, name).Lock(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		requireQuorumError(t, before.Extend(guarded(t)), "extend", bad)
		require.NoError(t, before.Err(), "its time is not over")
		requireQuorumError(t, before.Unlock(guarded(t)), "release", bad)
		require.ErrorIs(t, before.Err(), redlock.ErrReleased)
		for i := bad; i < 5; i++ {
			eventually(t, func() bool { return value(t, c, i, name) == "" && value(t, c, i, "before") == "" }, "node %d is clean", i)
		}
	})
}

// requireQuorumError requires that the nodes from the first to bad have failed.
func requireQuorumError(t *testing.T, err error, op string, bad int) {
	t.Helper()
	quorum, ok := errors.AsType[*redlock.QuorumError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, op, quorum.Op)
	require.Equal(t, 3, quorum.Quorum)
	require.Len(t, quorum.Nodes, 5)
	for i := range bad {
		require.Equal(t, redlock.NodeFailed, quorum.Nodes[i].State, "%v", err)
		require.Error(t, quorum.Nodes[i].Err)
		require.ErrorIs(t, err, quorum.Nodes[i].Err)
		require.Contains(t, err.Error(), quorum.Nodes[i].Node)
	}
}

func TestAMajorityThatIsSlowOrLosesRepliesStillVotes(t *testing.T) {
	t.Parallel()
	onFaults(t, func(f fault) bool { return f.answers && !f.forgets }, []int{3, 5}, func(t *testing.T, c *redistest.Cluster, f fault, bad int) {
		p := newPeer(t, c).prepare(t, c)
		for i := range bad {
			f.begin(t, c, p, i)
		}
		h := p.lock(t, name)
		awaitHeld(t, c, name, 5)
		for i := range bad {
			f.begin(t, c, p, i)
		}
		require.NoError(t, h.Extend(guarded(t)))
		for i := range bad {
			f.begin(t, c, p, i)
		}
		unlock(t, h) // also where only the first of two requests found the key
		p.net.Heal()
		awaitHeld(t, c, name, 0)
	})
}

func TestAMajorityThatForgetsEndsAHoldAtItsNextExtension(t *testing.T) {
	t.Parallel()
	onBoth(t, 5, func(t *testing.T, c *redistest.Cluster) {
		p := newPeer(t, c)
		extended, unlocked := p.lock(t, "extended"), p.lock(t, "unlocked")
		awaitHeld(t, c, "extended", 5)
		awaitHeld(t, c, "unlocked", 5)
		p.awaitRest(t) // a request whose reply got lost would be repeated
		for i := range 3 {
			c.Node(i).Kill(t)
			p.net.To(i).Reset() // the client can know at once
			c.Node(i).Restart(t)
		}
		require.ErrorIs(t, extended.Extend(guarded(t)), redlock.ErrLost)
		lost(t, extended)
		require.ErrorIs(t, extended.Unlock(guarded(t)), redlock.ErrLost)
		require.ErrorIs(t, unlocked.Unlock(guarded(t)), redlock.ErrLost)
		require.ErrorIs(t, unlocked.Unlock(guarded(t)), redlock.ErrLost, "again")
		awaitHeld(t, c, "extended", 0) // nothing was put back
		awaitHeld(t, c, "unlocked", 0)
	})
}

func TestKeysOfAMinorityArePutBackAfterAQuorumHasConfirmed(t *testing.T) {
	t.Parallel()
	onBoth(t, 5, func(t *testing.T, c *redistest.Cluster) {
		p := newPeer(t, c)
		p.net.To(4).Blackhole()
		h := p.lock(t, name)
		eventually(t, func() bool { return held(t, c, name) == 4 }, "held by those that answer")
		c.Node(0).Restart(t)
		require.NoError(t, h.Extend(guarded(t)))
		eventually(t, func() bool { return value(t, c, 0, name) != "" }, "put back after the restart")
		p.net.Heal()
		for range 2 { // the first may meet the call that hung
			require.NoError(t, h.Extend(guarded(t)))
		}
		awaitHeld(t, c, name, 5)
		unlock(t, h)
		awaitHeld(t, c, name, 0)
	})
}

func TestAKeyOnANodeThatWasDownIsRemovedWhenItIsBack(t *testing.T) {
	t.Parallel()
	onBoth(t, 3, func(t *testing.T, c *redistest.Cluster) {
		p := newPeer(t, c)
		h := p.lock(t, name)
		awaitHeld(t, c, name, 3)
		c.Node(0).Kill(t)
		unlock(t, h)
		c.Node(0).Restart(t)
		c.Node(0).Admin().Persist(guarded(t), name) // it does not go by itself
		awaitHeld(t, c, name, 0)
	}, redistest.WithAppendOnly())
}

func TestAKeyOfAnotherIsNeitherExtendedNorDeleted(t *testing.T) {
	t.Parallel()
	onBoth(t, 3, func(t *testing.T, c *redistest.Cluster) {
		p := newPeer(t, c)
		h := p.lock(t, name)
		awaitHeld(t, c, name, 3)
		require.NoError(t, c.Node(1).Admin().Set(guarded(t), name, "another", time.Hour).Err())
		require.NoError(t, h.Extend(guarded(t)))
		unlock(t, h)
		require.NoError(t, p.Close(guarded(t)))
		require.Equal(t, "another", value(t, c, 1, name))
		require.LessOrEqual(t, pttl(t, c, 1, name), time.Hour)
		require.Equal(t, 1, held(t, c, name))
	})
}

func TestAServerThatForgotTheScriptsIsSentThemAgain(t *testing.T) {
	t.Parallel()
	onBoth(t, 1, func(t *testing.T, c *redistest.Cluster) {
		p := newPeer(t, c)
		flush := func() { require.NoError(t, c.Node(0).Admin().ScriptFlush(guarded(t)).Err()) }
		unlock(t, p.lock(t, name))
		flush()
		h := p.lock(t, name)
		flush()
		require.NoError(t, h.Extend(guarded(t)))
		flush()
		unlock(t, h)
	})
}

func TestARestartedServerIsUsedAgain(t *testing.T) {
	t.Parallel()
	onBoth(t, 1, func(t *testing.T, c *redistest.Cluster) {
		p := newPeer(t, c)
		h := p.lock(t, name)
		c.Node(0).Restart(t)
		require.NoError(t, h.Extend(guarded(t)), "the key survived")
		unlock(t, h)
		unlock(t, p.lock(t, name))
	}, redistest.WithAppendOnly())
}

// The first connection to a node hangs with a request on it; the others do not.
func TestAWriteThatArrivesAfterWeGaveUpIsRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name              string
		read, nodeTimeout time.Duration
	}{
		{"its call goes on", guard, 300 * time.Millisecond},
		{"its call has ended", 2 * time.Second, patient},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			onBoth(t, 1, func(t *testing.T, c *redistest.Cluster) {
				newPeer(t, c).prepare(t, c)
				first := c.Net(t)
				client := firstThrough(t, c, first, tc.read)
				nodes, err := redlock.NewNodes([]redis.UniversalClient{client}, redlock.WithTTL(calm), redlock.WithNodeTimeout(tc.nodeTimeout))
				require.NoError(t, err)
				m, err := redlock.NewMutex(nodes, name)
				require.NoError(t, err)

				first.To(0).BlackholeToServer()
				_, err = m.TryLock(guarded(t))
				require.Error(t, err)
				eventually(t, func() bool { return tombstones(t, c, 0) == 1 }, "the token is given up")
				require.Empty(t, value(t, c, 0, name))
				first.Heal()
				require.NoError(t, nodes.Close(guarded(t)), "all calls have ended")
				require.NoError(t, client.Close())
				eventually(t, func() bool { return first.To(0).Connections() == 0 }, "the request has arrived")
				require.Empty(t, value(t, c, 0, name))
				require.Equal(t, 1, tombstones(t, c, 0))
				keys, err := c.Node(0).Admin().Keys(guarded(t), "*").Result()
				require.NoError(t, err)
				require.Positive(t, pttl(t, c, 0, keys[0]), "the tombstone is short-lived")
				require.LessOrEqual(t, pttl(t, c, 0, keys[0]), calm+patient)
			})
		})
	}
}

// firstThrough returns a client whose first connection goes through the net.
func firstThrough(t *testing.T, c *redistest.Cluster, first *redistest.Net, readTimeout time.Duration) *redis.Client {
	t.Helper()
	var dialled atomic.Bool
	client := redis.NewClient(&redis.Options{
		Addr: c.Node(0).Addr(), ReadTimeout: readTimeout,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if !dialled.Swap(true) {
				addr = first.To(0).Addr()
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	})
	t.Cleanup(func() { _ = client.Close() }) // the test closes it
	require.NoError(t, client.Ping(guarded(t)).Err())
	return client
}

func TestARefusalForGoodEndsLockAtOnce(t *testing.T) {
	t.Parallel()
	c := redistest.New(t, 3)
	for _, n := range c.Nodes() {
		require.NoError(t, n.Admin().Do(guarded(t), "ACL", "SETUSER", "poor", "on", ">secret", "+ping", "+hello", "+client").Err())
	}
	p := newPeerWith(t, c, func(o *redis.Options) { o.Username, o.Password = "poor", "secret" })
	_, err := p.mutex(t, name).Lock(guarded(t))
	require.ErrorContains(t, err, "NOPERM")
	require.NotErrorIs(t, err, context.DeadlineExceeded, "not tried until the end")
	quorum, ok := errors.AsType[*redlock.QuorumError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "acquire", quorum.Op)
}

func TestReleasingWorksWithoutPermissionToPublish(t *testing.T) {
	t.Parallel()
	c := redistest.New(t, 1)
	require.NoError(t, c.Node(0).Admin().Do(guarded(t), "ACL", "SETUSER", "mute", "on", ">secret", "~*", "+@all", "-publish").Err())
	p := newPeerWith(t, c, func(o *redis.Options) { o.Username, o.Password = "mute", "secret" })
	unlock(t, p.lock(t, name))
	require.Empty(t, value(t, c, 0, name))
}

func TestAClosedClientEndsLockAtOnce(t *testing.T) {
	t.Parallel()
	c := redistest.NewEmbedded(t, 1)
	p := newPeer(t, c)
	require.NoError(t, p.clients[0].Close())
	_, err := p.mutex(t, name).Lock(guarded(t))
	require.ErrorIs(t, err, redis.ErrClosed)
	require.NotErrorIs(t, err, context.DeadlineExceeded, "not tried until the end")
}
