package lock_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// What the official client's locks get wrong, finding by finding (F1 to F11). Where
// a test runs against clientv3/concurrency as well, it shows the defect there, and
// thereby that it would notice it here.

// official returns a client with a session of clientv3/concurrency.
func official(t *testing.T, c *etcdtest.Cluster) (*concurrency.Session, *etcdtest.Recorder, *etcdtest.Net) {
	t.Helper()
	rec, net := &etcdtest.Recorder{}, c.Net(t)
	client := c.Client(t, etcdtest.WithRecorder(rec), etcdtest.ViaNet(net))
	s, err := concurrency.NewSession(client, concurrency.WithTTL(120))
	require.NoError(t, err)
	t.Cleanup(func() {
		net.Heal()
		require.NoError(t, s.Close())
	})
	return s, rec, net
}

// handOver lets two contenders pass a lock to and fro until they have watched a few
// times.
func handOver(t *testing.T, recs [2]*etcdtest.Recorder, cycles [2]func(context.Context) error) {
	t.Helper()
	ctx := guarded(t)
	var wg sync.WaitGroup
	for _, cycle := range cycles {
		wg.Go(func() {
			for len(peertest.WatchesIn(recs[0]))+len(peertest.WatchesIn(recs[1])) < 8 {
				if err := cycle(ctx); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestF1HandOverWatchesAreNotBehindTheStore(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	// behind counts watches from a revision that the store has already reached.
	// The server makes such a watcher wait for its next turn, up to 100 ms.
	behind := func(recs [2]*etcdtest.Recorder) (behind, all int) {
		for _, rec := range recs {
			for _, w := range peertest.WatchesIn(rec) {
				all++
				if w.Start != 0 && w.Start <= w.Created {
					behind++
				}
			}
		}
		return behind, all
	}

	t.Run("Conclave", func(t *testing.T) {
		t.Parallel()
		name := c.Prefix(t) + "m"
		var recs [2]*etcdtest.Recorder
		var cycles [2]func(context.Context) error
		for i := range cycles {
			p := newPeer(t, c, withTTL(calm))
			m := p.mutex(t, name)
			recs[i] = p.Rec
			cycles[i] = func(ctx context.Context) error {
				return m.Do(ctx, func(context.Context, *lock.Hold) error { return nil })
			}
		}
		handOver(t, recs, cycles)
		n, all := behind(recs)
		require.Zero(t, n)
		require.NotZero(t, all)
	})

	t.Run("official", func(t *testing.T) {
		t.Parallel()
		name := c.Prefix(t) + "m"
		var recs [2]*etcdtest.Recorder
		var cycles [2]func(context.Context) error
		for i := range cycles {
			s, rec, _ := official(t, c)
			m := concurrency.NewMutex(s, name)
			recs[i] = rec
			cycles[i] = func(ctx context.Context) error { return errors.Join(m.Lock(ctx), m.Unlock(ctx)) }
		}
		handOver(t, recs, cycles)
		n, all := behind(recs)
		require.NotZero(t, all)
		require.Equal(t, all, n)
	})
}

func TestF2DeadlineCountsFromTheSendingOfARenewal(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := newPeer(t, c, withTTL(unhurried))
	h := p.lock(t, c.Prefix(t)+"m")
	before := h.Deadline()
	// Replies take much longer than the allowance for clock drift.
	delayed := make(chan struct{}, 100)
	p.Rec.HookStream(func(_ string, d etcdtest.Direction, msg any) (bool, error) {
		if _, ok := msg.(*pb.LeaseKeepAliveResponse); ok && d == etcdtest.Recv {
			<-time.After(unhurried / 10)
			delayed <- struct{}{}
		}
		return false, nil
	})
	await(t, delayed, "a renewal")
	eventually(t, func() bool { return h.Deadline().After(before) }, "the renewal counts")
	deadline := h.Deadline() // before the calls are looked at: there may be another
	var last time.Time
	for _, call := range p.Rec.Calls() {
		if _, ok := call.Request.(*pb.LeaseKeepAliveRequest); ok {
			last = call.Start
		}
	}
	require.False(t, deadline.After(last.Add(unhurried)))
}

func TestF2HoldEndsBeforeTheNextOneIsGrantedInAPartition(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for range suite.Long(1, 4) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			name := c.Prefix(t) + "m"
			holder, next := newPeer(t, c, withTTL(unhurried)), newPeer(t, c, withTTL(calm))
			h := holder.lock(t, name)
			done, _ := next.queueUp(guarded(t), t, name)
			holder.Net.Cut()
			after := granted(t, done)
			require.Error(t, h.Err())
			require.False(t, h.Deadline().After(time.Now()))
			lost(t, h)
			require.ErrorIs(t, h.Err(), lease.ErrLost)
			unlock(t, after)
		})
	}
}

func TestF3GoroutinesOfOneSessionExcludeEachOther(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	t.Run("Conclave", func(t *testing.T) {
		t.Parallel()
		p, name := newPeer(t, c), c.Prefix(t)+"m"
		for _, m := range []*lock.Mutex{p.mutex(t, name), p.mutex(t, name)} {
			h := p.lock(t, name)
			_, err := m.TryLock(guarded(t))
			require.ErrorIs(t, err, lock.ErrLocked)
			done, _ := p.queueUp(guarded(t), t, name)
			unlock(t, h)
			unlock(t, granted(t, done))
		}
	})
	t.Run("official", func(t *testing.T) {
		t.Parallel()
		s, _, _ := official(t, c)
		name := c.Prefix(t) + "m"
		require.NoError(t, concurrency.NewMutex(s, name).Lock(guarded(t)))
		require.NoError(t, concurrency.NewMutex(s, name).Lock(guarded(t)), "both hold it")
	})
}

func TestF4WaiterWhoseLeaseDiedIsNotGrantedWithIt(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator, name := c.Client(t), c.Prefix(t)+"m"
	holder, p := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
	h := holder.lock(t, name)
	dead := p.LeaseID(t)
	done, e := p.queueUp(guarded(t), t, name)
	// No renewal falls into this test, so only the wake-up check can notice.
	revoke(t, operator, dead)
	unlock(t, h)
	next := granted(t, done)
	require.NotEqual(t, e.Revision, next.Token().Revision())
	kv := get(t, operator, next.Key())
	require.NotNil(t, kv, "what is granted exists")
	require.Equal(t, kv.CreateRevision, next.Token().Revision())
	require.NotEqual(t, int64(dead), kv.Lease)
	require.EqualValues(t, p.LeaseID(t), kv.Lease)
	unlock(t, next)
}

func TestF5LockReturnsWhenItsContextEndsInAPartition(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	t.Run("Conclave", func(t *testing.T) {
		t.Parallel()
		name := c.Prefix(t) + "m"
		holder, p := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
		h := holder.lock(t, name)
		ctx, cancel := context.WithCancel(guarded(t))
		done, e := p.queueUp(ctx, t, name)
		p.Net.Cut()
		cancel()
		require.ErrorIs(t, await(t, done, "Lock returns").err, context.Canceled)
		require.Len(t, queueOf(t, c.Client(t), name), 2, "still cut off")
		p.Net.Heal()
		awaitDelete(t, c.Client(t), e.Key, e.Revision)
		unlock(t, h)
	})
	t.Run("official", func(t *testing.T) {
		t.Parallel()
		name := c.Prefix(t) + "m"
		holder, _, _ := official(t, c)
		require.NoError(t, concurrency.NewMutex(holder, name).Lock(guarded(t)))
		s, rec, net := official(t, c)
		// What Lock waits for is a request without a limit of any kind.
		unlimited := make(chan bool, 1)
		rec.Hook("DeleteRange", func(ctx context.Context, _ any, invoke func() error) error {
			_, limited := ctx.Deadline()
			unlimited <- !limited && ctx.Err() == nil
			return invoke()
		})
		ctx, cancel := context.WithCancel(guarded(t))
		done := make(chan error, 1)
		go func() { done <- concurrency.NewMutex(s, name).Lock(ctx) }()
		eventually(t, func() bool { return len(peertest.WatchesIn(rec)) == 1 && peertest.WatchesIn(rec)[0].Created != 0 }, "it waits")
		net.Cut()
		cancel()
		require.True(t, await(t, unlimited, "the clean-up"))
		select {
		case err := <-done:
			require.Fail(t, "Lock has returned", "%v", err)
		case <-time.After(100 * time.Millisecond):
		}
		net.Heal()
		require.ErrorIs(t, await(t, done, "Lock returns"), context.Canceled)
	})
}

func TestF6EnqueueWhoseReplyIsLostLeavesNoKey(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator, name := c.Client(t), c.Prefix(t)+"m"
	p, next := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
	ctx, cancel := context.WithCancel(guarded(t))
	var enqueued atomic.Int64
	remove := p.Rec.Hook("Txn", func(ctx context.Context, _ any, invoke func() error) error {
		if err := invoke(); err != nil {
			return err
		}
		enqueued.Add(1)
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	o := await(t, p.lockSoon(ctx, t, name), "Lock returns")
	remove()
	require.ErrorIs(t, o.err, context.Canceled)
	require.NotZero(t, enqueued.Load())
	unlock(t, next.lock(t, name))
	awaitQueue(t, operator, name, 0)
	unlock(t, p.lock(t, name))
}

func TestF7UnlockOfALostLockSaysSoAndDeletesNothing(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator := c.Client(t)
	t.Run("Conclave", func(t *testing.T) {
		t.Parallel()
		p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
		h := p.lock(t, name)
		remove(t, operator, h.Key())
		// Somebody else under the same key.
		put(t, operator, h.Key(), "somebody else")
		require.ErrorIs(t, h.Unlock(guarded(t)), lock.ErrLost)
		require.NotNil(t, get(t, operator, h.Key()))
		require.ErrorIs(t, h.Unlock(guarded(t)), lock.ErrLost, "again")
		remove(t, operator, h.Key())
	})
	t.Run("official", func(t *testing.T) {
		t.Parallel()
		s, _, _ := official(t, c)
		name := c.Prefix(t) + "m"
		m := concurrency.NewMutex(s, name)
		require.NoError(t, m.Lock(guarded(t)))
		key := m.Key()
		remove(t, operator, key)
		put(t, operator, key, "somebody else")
		require.NoError(t, m.Unlock(guarded(t)), "it was not held")
		require.Nil(t, get(t, operator, key), "somebody else's key is gone")
	})
}

func TestF8LockDoesNotWaitForLocksWhoseNamesExtendItsOwn(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	t.Run("Conclave", func(t *testing.T) {
		t.Parallel()
		p, q, prefix := newPeer(t, c), newPeer(t, c), c.Prefix(t)
		var holds []*lock.Hold
		for _, name := range []string{"a/b", "a", "a/b/c", "a/bb", "a/mutex", "a/0"} {
			h, err := p.mutex(t, prefix+name).TryLock(guarded(t))
			require.NoError(t, err, name)
			holds = append(holds, h)
			_, err = q.mutex(t, prefix+name).TryLock(guarded(t))
			require.ErrorIs(t, err, lock.ErrLocked, name)
			require.Len(t, queueOf(t, p.Client, prefix+name), 1)
		}
		for _, h := range holds {
			unlock(t, h)
		}
	})
	t.Run("official", func(t *testing.T) {
		t.Parallel()
		s, _, _ := official(t, c)
		other, _, _ := official(t, c)
		prefix := c.Prefix(t)
		require.NoError(t, concurrency.NewMutex(s, prefix+"a/b").Lock(guarded(t)))
		require.ErrorIs(t, concurrency.NewMutex(other, prefix+"a").TryLock(guarded(t)), concurrency.ErrLocked)
	})
}

func TestF9TryLockOfAHeldLockWritesNothing(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	operator := c.Client(t)
	holder := newPeer(t, c, withTTL(calm))
	h, mine := holder.lock(t, "m"), newPeer(t, c, withTTL(calm))
	m := mine.mutex(t, "m")

	mine.Rec.Reset()
	before := revision(t, operator)
	_, err := m.TryLock(guarded(t))
	require.ErrorIs(t, err, lock.ErrLocked)
	require.Equal(t, before, revision(t, operator))
	require.Equal(t, 1, mine.Rec.Writes(), "entries in the raft log: a transaction that may put is one")

	holds, _, _ := official(t, c)
	require.NoError(t, concurrency.NewMutex(holds, "n").Lock(guarded(t)))
	tries, rec, _ := official(t, c)
	rec.Reset()
	before = revision(t, operator)
	require.ErrorIs(t, concurrency.NewMutex(tries, "n").TryLock(guarded(t)), concurrency.ErrLocked)
	require.Equal(t, before+2, revision(t, operator))
	require.Equal(t, 2, rec.Writes())
	unlock(t, h)
}

func TestF10TokenOfAContendedLockIsItsKeysCreateRevision(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator, prefix := c.Client(t), c.Prefix(t)
	peers := newPeers(t, c, 4)
	h := peers[0].lock(t, prefix+"m")
	outcomes := make([]<-chan outcome, 0, len(peers))
	for _, p := range peers[1:] {
		done, _ := p.queueUp(guarded(t), t, prefix+"m")
		outcomes = append(outcomes, done)
	}
	for _, done := range outcomes {
		put(t, operator, prefix+"k", "the store moves on")
		highest := h.Token()
		unlock(t, h)
		h = granted(t, done)
		require.Greater(t, h.Token(), highest)
		require.Equal(t, get(t, operator, h.Key()).CreateRevision, h.Token().Revision())
		require.Zero(t, h.Token().Sequence())
	}
	unlock(t, h)
}

func TestF11WaiterNoticesThatItsSessionDied(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator, name := c.Client(t), c.Prefix(t)+"m"
	holder, p := newPeer(t, c), newPeer(t, c, withTTL(unhurried))
	h := holder.lock(t, name)
	dead := p.LeaseID(t)
	done, e := p.queueUp(guarded(t), t, name)
	revoke(t, operator, dead)
	// The lock is not released: nothing but its own round tells the waiter.
	again := await(t, p.Waiting, "it queues again")
	require.Greater(t, again.Revision, e.Revision)
	require.NotEqual(t, e.Key, again.Key)
	require.Equal(t, h.Key(), again.Predecessor)
	stillWaits(t, done)
	unlock(t, h)
	unlock(t, granted(t, done))
}

func TestF11WaiterIsToldThatItsSessionWasClosed(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "m"
	h := newPeer(t, c).lock(t, name)
	for what, end := range map[string]func(*peer) error{
		"session": func(p *peer) error { return p.Session.Close(guarded(t)) },
		"client":  func(p *peer) error { return p.Client.Close() },
	} {
		p := newPeer(t, c, withTTL(calm))
		id := p.LeaseID(t)
		done, _ := p.queueUp(guarded(t), t, name)
		require.NoError(t, end(p), what)
		require.ErrorIs(t, await(t, done, "Lock returns").err, lease.ErrClosed, what)
		if what == "client" {
			revoke(t, c.Client(t), id) // as if it had expired
		}
	}
	awaitQueue(t, c.Client(t), name, 1)
	unlock(t, h)
}
