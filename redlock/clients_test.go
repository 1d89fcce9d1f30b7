package redlock_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/redlock"
)

// failures keeps what nodes have not done, by operation.
type failures struct {
	mu  sync.Mutex
	all map[string]int
}

func (f *failures) observer() redlock.Observer {
	f.all = make(map[string]int)
	return redlock.Observer{NodeFailed: func(e redlock.NodeFailure) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.all[e.Op]++
	}}
}

func (f *failures) of(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all[op]
}

// A user of Redis that may touch what begins with the prefix, and nothing else.
func TestAllKeysAndChannelsBeginWithThePrefix(t *testing.T) {
	t.Parallel()
	c := redistest.New(t, 1, redistest.WithRedisCluster())
	require.NoError(t, c.Node(0).Admin().Do(guarded(t), "ACL", "SETUSER", "locks", "on", ">secret", "resetchannels",
		"~locks:*", "&locks:*", "+evalsha", "+eval", "+get", "+set", "+del", "+exists", "+pttl", "+pexpire", "+publish", "+subscribe", "+unsubscribe", "+ping").Err())
	var f failures
	p := newPeerWith(t, c, func(o *redis.Options) { o.Username, o.Password = "locks", "secret" },
		redlock.WithKeyPrefix("locks:"), redlock.WithObserver(f.observer()))
	for _, name := range []string{"job", "{a}", "a{b}c", "a{b", "x y"} {
		h := p.lock(t, name)
		require.NoError(t, h.Extend(guarded(t)))
		ctx, cancel := context.WithCancel(guarded(t))
		next := p.lockSoon(ctx, t, name)
		eventually(t, func() bool {
			counts, err := c.Node(0).Admin().PubSubNumSub(guarded(t), "locks:"+name+":released").Result()
			return err == nil && counts["locks:"+name+":released"] == 1
		}, "it is told of releases")
		unlock(t, h)
		unlock(t, granted(t, next))
		cancel()
	}
	require.Zero(t, f.of("subscribe"))

	// An attempt whose outcome is not known leaves a tombstone.
	lossy := newPeerWith(t, c, func(o *redis.Options) {
		o.Username, o.Password, o.ReadTimeout = "locks", "secret", 300*time.Millisecond
	}, redlock.WithKeyPrefix("locks:"), redlock.WithNodeTimeout(time.Second))
	lossy.net.To(0).BlackholeToClient()
	_, err := lossy.mutex(t, name).TryLock(guarded(t))
	require.Error(t, err)
	lossy.net.Heal()
	eventually(t, func() bool { return tombstones(t, c, 0) == 1 }, "a tombstone")
	keys, err := c.Node(0).Admin().Keys(guarded(t), "*").Result()
	require.NoError(t, err)
	for _, key := range keys {
		require.True(t, strings.HasPrefix(key, "locks:"), key)
	}
	_, err = redlock.NewNodes(p.clients, redlock.WithKeyPrefix("a{b"))
	require.ErrorContains(t, err, `redlock: key prefix "a{b": has an opening brace`)
}

// Waiters poll then, and somebody is told why hand-overs take so long.
func TestASubscriptionThatIsDeniedIsTold(t *testing.T) {
	t.Parallel()
	c := redistest.New(t, 1)
	require.NoError(t, c.Node(0).Admin().Do(guarded(t), "ACL", "SETUSER", "deaf", "on", ">secret", "~*", "+@all", "resetchannels").Err())
	var f failures
	var l log
	p := newPeerWith(t, c, func(o *redis.Options) { o.Username, o.Password = "deaf", "secret" },
		redlock.WithObserver(f.observer()), redlock.WithLogger(slog.New(slog.NewTextHandler(&l, nil))))
	h := p.lock(t, name)
	next := p.lockSoon(guarded(t), t, name)
	eventually(t, func() bool { return f.of("subscribe") > 1 }, "the observer is told each time")
	require.Equal(t, 1, strings.Count(l.text(), "does not tell of releases"), l.text())
	require.Contains(t, l.text(), "NOPERM")
	require.Contains(t, l.text(), p.net.To(0).Addr())
	unlock(t, h)
	unlock(t, granted(t, next))
}

// The key goes nevertheless, and somebody is told why hand-overs take so long.
func TestAReleaseThatMayNotBePublishedIsTold(t *testing.T) {
	t.Parallel()
	c := redistest.New(t, 1)
	require.NoError(t, c.Node(0).Admin().Do(guarded(t), "ACL", "SETUSER", "mute", "on", ">secret", "~*", "&*", "+@all", "-publish").Err())
	var l log
	p := newPeerWith(t, c, func(o *redis.Options) { o.Username, o.Password = "mute", "secret" },
		redlock.WithLogger(slog.New(slog.NewTextHandler(&l, nil))))
	for range 3 {
		h := p.lock(t, name)
		unlock(t, h)
		require.Empty(t, value(t, c, 0, name))
	}
	require.Equal(t, 1, strings.Count(l.text(), "a release cannot be published"), l.text())
	require.Contains(t, l.text(), "publish")
	require.Contains(t, l.text(), p.net.To(0).Addr())
	require.NotContains(t, l.text(), "no quorum")
	require.NoError(t, c.Node(0).Admin().Do(guarded(t), "ACL", "SETUSER", "mute", "+publish").Err())
	unlock(t, p.lock(t, name))
	require.NoError(t, c.Node(0).Admin().Do(guarded(t), "ACL", "SETUSER", "mute", "-publish").Err())
	unlock(t, p.lock(t, name))
	require.Equal(t, 2, strings.Count(l.text(), "a release cannot be published"), "it worked meanwhile")
}

func TestALockWithAShortTTLHasANodeTimeoutOfItsOwn(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		nodes := virtualNodes(t, v, n)
		for _, ttl := range []time.Duration{30 * time.Millisecond, 300 * time.Millisecond, 740 * time.Millisecond} {
			m, err := redlock.NewMutex(nodes, name, redlock.WithTTL(ttl))
			require.NoError(t, err)
			h, err := m.Lock(t.Context())
			require.NoError(t, err)
			<-time.After(10 * ttl)
			require.NoError(t, h.Err())
			synctest.Wait()
			for i := range n {
				v.Wire(i).Cut()
			}
			start := time.Now()
			require.Error(t, h.Extend(t.Context()))
			require.Equal(t, ttl/10, time.Since(start))
			for i := range n {
				v.Wire(i).Heal()
			}
			require.NoError(t, h.Unlock(t.Context()))
			synctest.Wait()
		}
	})
}

// Somebody else has made it, or has taken its TTL away.
func TestAKeyThatNeverExpiresIsToldAsThat(t *testing.T) {
	t.Parallel()
	onSizes(t, func(t *testing.T, c *redistest.Cluster) {
		for i := range c.Size()/2 + 1 {
			require.NoError(t, c.Node(i).Admin().Set(guarded(t), "locks:"+name, "cron@web-1", 0).Err())
		}
		var l log
		opts := []redlock.Option{redlock.WithKeyPrefix("locks:"), redlock.WithLogger(slog.New(slog.NewTextHandler(&l, nil)))}
		p := newPeer(t, c, opts...)
		_, err := p.mutex(t, name).TryLock(guarded(t))
		var locked *redlock.LockedError
		require.ErrorAs(t, err, &locked)
		require.Equal(t, "cron@web-1", locked.Owner)
		require.Len(t, locked.NoExpiry, c.Size()/2+1)
		require.ErrorContains(t, err, `key "locks:job" has no expiry on `+p.net.To(0).Addr())
		require.ErrorContains(t, err, "an operator deletes it (DEL)")

		require.NoError(t, p.Close(guarded(t))) // what the try has left is removed
		p = newPeer(t, c, opts...)
		ctx, cancel := context.WithCancel(guarded(t))
		next := p.lockSoon(ctx, t, name)
		eventually(t, func() bool { return strings.Contains(l.text(), "never expires") }, "the log says so")
		require.Contains(t, l.text(), "cron@web-1")
		cancel()
		require.ErrorContains(t, await(t, next, "Lock returns").err, "no expiry")
	})
}

func TestALockWhoseContextEndsSaysWhoHasIt(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		lockVirtual(t, virtualNodes(t, v, n, redlock.WithOwner("web-1:4711")))
		nodes := virtualNodes(t, v, n)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		first, second := lockSoonVirtual(ctx, t, nodes, name), lockSoonVirtual(ctx, t, nodes, name)
		for _, done := range []<-chan outcome{first, second} { // the second has never asked
			err := (<-done).err
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorIs(t, err, redlock.ErrLocked)
			require.ErrorContains(t, err, `by "web-1:4711/`)
		}
	})
}

// However many wait, and however often they ask.
func TestNodesThatDoNotAnswerAreToldOnceAndThenWithGrowingDistance(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		var l log
		nodes := virtualNodes(t, v, n, redlock.WithLogger(slog.New(slog.NewTextHandler(&l, nil))))
		require.NoError(t, lockVirtual(t, nodes).Unlock(t.Context()))
		<-time.After(time.Minute)
		require.Empty(t, l.text(), "all is well")
		for i := range n {
			v.Wire(i).Cut()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for i := range 3 { // each of which asks once a second, and so connects to each node
			lockSoonVirtual(ctx, t, nodes, name+string(rune('a'+i)))
		}
		<-time.After(5 * time.Second)
		require.Equal(t, 1, strings.Count(l.text(), "no quorum; it is tried again"))
		require.Contains(t, l.text(), "127.0.0.1:6379")
		require.Contains(t, l.text(), "no answer within the node timeout")
		<-time.After(suite.Long(10*time.Minute, 30*time.Minute))
		require.LessOrEqual(t, strings.Count(l.text(), "\n"), 20)
		for i := range n {
			v.Wire(i).Heal()
		}
		<-time.After(time.Minute)
		require.Equal(t, 1, strings.Count(l.text(), "a quorum answers again"))
		cancel()
		synctest.Wait()
	})
}

func TestWhatDoesNotTrustTheOtherSideFailsAtOnce(t *testing.T) {
	t.Parallel()
	c := redistest.New(t, 3, redistest.WithTLS())
	other := redistest.New(t, 3, redistest.WithTLS())
	for what, tc := range map[string]struct {
		c    *redistest.Cluster
		tls  *tls.Config
		want string
	}{
		"unknown authority": {c, &tls.Config{}, "certificate signed by unknown authority"},
		"another authority": {c, other.TLS(), "certificate"},
		"another name":      {c, func() *tls.Config { o := c.TLS(); o.ServerName = "example.org"; return o }(), "example.org"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			var clients []redis.UniversalClient
			for _, node := range tc.c.Nodes() {
				client := redis.NewClient(&redis.Options{Addr: node.Addr(), TLSConfig: tc.tls})
				t.Cleanup(func() { _ = client.Close() })
				clients = append(clients, client)
			}
			nodes, err := redlock.NewNodes(clients, redlock.WithNodeTimeout(3*time.Second))
			require.NoError(t, err)
			m, err := redlock.NewMutex(nodes, name)
			require.NoError(t, err)
			_, err = m.Lock(guarded(t))
			require.ErrorContains(t, err, tc.want)
			require.NotErrorIs(t, err, context.DeadlineExceeded, "not tried until the end")
			require.ErrorContains(t, err, tc.c.Node(0).Addr())
			require.NoError(t, nodes.Close(guarded(t)))
		})
	}
}

func TestLocksWorkOverTLS(t *testing.T) {
	t.Parallel()
	c := redistest.New(t, 3, redistest.WithTLS())
	var clients []redis.UniversalClient
	for _, node := range c.Nodes() {
		client := redis.NewClient(&redis.Options{Addr: node.Addr(), TLSConfig: c.TLS()})
		t.Cleanup(func() { _ = client.Close() })
		clients = append(clients, client)
	}
	nodes, err := redlock.NewNodes(clients, redlock.WithTTL(calm), redlock.WithNodeTimeout(patient))
	require.NoError(t, err)
	p := &peer{Nodes: nodes, clients: clients}
	h := p.lock(t, name)
	next := p.queueUp(guarded(t), t, c, h.Name())
	require.NoError(t, h.Extend(guarded(t)))
	unlock(t, h)
	unlock(t, granted(t, next))
	awaitHeld(t, c, name, 0)
	require.NoError(t, nodes.Close(guarded(t)))
}

// Up to version 6.2 Redis puts what a script was refused with behind where that was.
func TestAnErrorOfAScriptIsWhatItsCommandWasRefusedWith(t *testing.T) {
	t.Parallel()
	const within = "ERR Error running script (call to f_7deb34c7bcd1dba9fe31c6bc1c1dfa5a0c9d29d0): @user_script:9: @user_script: 9: "
	for what, passes := range map[string]bool{
		"-READONLY You can't write against a read only replica.":                      true,
		"-OOM command not allowed when used memory > 'maxmemory'.":                    true,
		"-NOPERM this user has no permissions to run the 'set' command":               false,
		"Unknown Redis command called from Lua script":                                false,
		"Wrong number of args calling Redis command From Lua script: - READONLY, too": false,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			inBubble(t, 1, func(t *testing.T, v *redistest.Virtual) {
				clients := v.Clients(t)
				require.NoError(t, clients[0].Ping(t.Context()).Err())
				nodes, err := redlock.NewNodes(clients)
				require.NoError(t, err)
				defer func() { require.NoError(t, nodes.Close(context.Background())) }()
				v.Wire(0).Redis().SetError(within + what)
				heal := time.AfterFunc(time.Minute, func() { v.Wire(0).Redis().SetError("") })
				defer heal.Stop()
				m, err := redlock.NewMutex(nodes, name)
				require.NoError(t, err)
				_, err = m.Lock(t.Context())
				if passes {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, what)
				}
			})
		})
	}
}
