package lock_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// awaitRounds lets the session's lease be renewed, and its keys be looked at, n times more.
func (p *peer) awaitRounds(t *testing.T, n int) {
	t.Helper()
	looks := func() (done int) {
		for _, c := range p.Rec.Calls() {
			if txn, ok := c.Request.(*pb.TxnRequest); ok && c.Response != nil && !c.IsWrite() && !local(txn) {
				done++
			}
		}
		return done
	}
	for range n {
		before := looks()
		p.hurry(t)
		eventually(t, func() bool { return looks() > before }, "a look")
	}
}

func TestWaiterLeavesTheQueueWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator, name := c.Client(t), c.Prefix(t)+"m"
	holder, p := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
	h := holder.lock(t, name)
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(guarded(t))
	done, e := p.queueUp(ctx, t, name)
	cancel(why)
	o := await(t, done, "Lock returns")
	require.Nil(t, o.hold)
	require.ErrorIs(t, o.err, context.Canceled)
	require.ErrorIs(t, o.err, why)
	awaitDelete(t, operator, e.Key, e.Revision)
	require.Equal(t, []string{h.Key()}, keys(queueOf(t, operator, name)))
	unlock(t, h)
}

func keys(entries []lock.Entry) (all []string) {
	for _, e := range entries {
		all = append(all, e.Key)
	}
	return all
}

func TestWaiterIsGrantedAfterTheEntryBeforeItEnds(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	// Each puts an entry into the queue and returns how it ends.
	entries := map[string]func(t *testing.T, name string) (end func()){
		"cancelled": func(t *testing.T, name string) func() {
			t.Helper()
			ctx, cancel := context.WithCancel(guarded(t))
			done, _ := newPeer(t, c).queueUp(ctx, t, name)
			return func() {
				cancel()
				require.Error(t, await(t, done, "Lock returns").err)
			}
		},
		"dead": func(t *testing.T, name string) func() {
			t.Helper()
			p := newPeer(t, c, withTTL(calm))
			ctx, cancel := context.WithCancel(guarded(t))
			done, _ := p.queueUp(ctx, t, name)
			return func() {
				p.Net.Cut()
				revoke(t, c.Client(t), p.LeaseID(t)) // as if it had expired, for which the test below waits
				t.Cleanup(func() {
					cancel()
					await(t, done, "Lock returns")
				})
			}
		},
		"its session closed": func(t *testing.T, name string) func() {
			t.Helper()
			p := newPeer(t, c)
			done, _ := p.queueUp(guarded(t), t, name)
			return func() {
				require.NoError(t, p.Session.Close(guarded(t)))
				require.ErrorIs(t, await(t, done, "Lock returns").err, lease.ErrClosed)
			}
		},
		"deleted by an operator": func(t *testing.T, name string) func() {
			t.Helper()
			p := newPeer(t, c, withTTL(calm))
			ctx, cancel := context.WithCancel(guarded(t))
			done, e := p.queueUp(ctx, t, name)
			return func() {
				remove(t, p.Client, e.Key)
				t.Cleanup(func() {
					cancel()
					await(t, done, "Lock returns")
				})
			}
		},
		"of a dead client": func(t *testing.T, name string) func() {
			t.Helper()
			client := c.Client(t)
			l, err := client.Grant(guarded(t), 300)
			require.NoError(t, err)
			put(t, client, name+"/~mutex/dead", "{}", clientv3.WithLease(l.ID))
			return func() { revoke(t, client, l.ID) } // as if it had expired
		},
	}
	for what, enter := range entries {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			name := c.Prefix(t) + "m"
			holder, p := newPeer(t, c), newPeer(t, c, withTTL(calm))
			h := holder.lock(t, name)
			end := enter(t, name)
			done, e := p.queueUp(guarded(t), t, name)
			require.NotEqual(t, h.Key(), e.Predecessor)
			watched := p.NextWatch(t)
			end()
			watched(h.Key(), e.Key)
			stillWaits(t, done)
			unlock(t, h)
			next := granted(t, done)
			require.Equal(t, e.Revision, next.Token().Revision(), "its place was kept")
			unlock(t, next)
		})
	}
}

func TestWaiterIsGrantedAfterTheHolderEnds(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator := c.Client(t)
	for what, end := range map[string]func(p *peer, h *lock.Hold) error{
		"dead": func(p *peer, _ *lock.Hold) error {
			p.Net.Cut()
			return nil
		},
		"its session closed": func(p *peer, _ *lock.Hold) error { return p.Session.Close(guarded(t)) },
		"its client closed":  func(p *peer, _ *lock.Hold) error { return p.Client.Close() },
		"deleted by an operator": func(_ *peer, h *lock.Hold) error {
			_, err := operator.Delete(guarded(t), h.Key())
			return err
		},
		"its lease revoked": func(p *peer, _ *lock.Hold) error {
			_, err := operator.Revoke(guarded(t), p.LeaseID(t))
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			name := c.Prefix(t) + "m"
			holder, p := newPeer(t, c, withTTL(unhurried)), newPeer(t, c, withTTL(calm))
			h := holder.lock(t, name)
			done, _ := p.queueUp(guarded(t), t, name)
			require.NoError(t, end(holder, h))
			next := granted(t, done)
			lost(t, h)
			unlock(t, next)
		})
	}
}

func TestWaiterWhoseKeyIsDeletedQueuesAgain(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	t.Run("at the next look", func(t *testing.T) {
		t.Parallel()
		operator, name := c.Client(t), c.Prefix(t)+"m"
		holder, p := newPeer(t, c), newPeer(t, c, withTTL(unhurried))
		h := holder.lock(t, name)
		done, e := p.queueUp(guarded(t), t, name)
		remove(t, operator, e.Key)
		again := await(t, p.Waiting, "it queues again")
		require.Greater(t, again.Revision, e.Revision)
		require.Equal(t, h.Key(), again.Predecessor)
		require.Len(t, queueOf(t, operator, name), 2)
		unlock(t, h)
		unlock(t, granted(t, done))
	})
	t.Run("when it is woken", func(t *testing.T) {
		t.Parallel()
		operator, name := c.Client(t), c.Prefix(t)+"m"
		holder, p := newPeer(t, c), newPeer(t, c, withTTL(calm))
		h := holder.lock(t, name)
		done, e := p.queueUp(guarded(t), t, name)
		remove(t, operator, e.Key)
		unlock(t, h)
		next := granted(t, done)
		require.Greater(t, next.Token().Revision(), e.Revision)
		requireOnly(t, operator, name, next)
		unlock(t, next)
	})
}

func TestHolderWhoseKeyIsDeletedIsToldAtTheNextLook(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, interfere := range map[string]func(t *testing.T, operator *clientv3.Client, key string){
		"deleted": func(t *testing.T, operator *clientv3.Client, key string) {
			t.Helper()
			remove(t, operator, key)
		},
		"deleted and put again": func(t *testing.T, operator *clientv3.Client, key string) {
			t.Helper()
			remove(t, operator, key)
			put(t, operator, key, "somebody else")
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			operator, name := c.Client(t), c.Prefix(t)+"m"
			p := newPeer(t, c, withTTL(unhurried))
			h, other := p.lock(t, name), p.lock(t, name+"/other")
			id := p.LeaseID(t)
			interfere(t, operator, h.Key())
			lost(t, h)
			require.NotErrorIs(t, h.Err(), lease.ErrLost, "the lease is well")
			require.Equal(t, id, p.LeaseID(t))
			require.NoError(t, other.Err())
			require.ErrorIs(t, h.Unlock(guarded(t)), lock.ErrLost)
			unlock(t, other)
		})
	}
}

func TestHolderIsToldThatItsLeaseWasRevoked(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(unhurried)), c.Prefix(t)+"m"
	h := p.lock(t, name)
	revoke(t, c.Client(t), p.LeaseID(t))
	p.hurry(t)
	lost(t, h)
	require.ErrorIs(t, h.Unlock(guarded(t)), lock.ErrLost)
	next := p.lock(t, name)
	require.Greater(t, next.Token(), h.Token())
	unlock(t, next)
}
