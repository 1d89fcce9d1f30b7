package lock_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// What TestX of faults_test.go shows for Mutex, for the other kinds.

func TestAnyWaiterLeavesTheQueueWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	eachContest(t, contests, func(t *testing.T, k contest) {
		t.Helper()
		operator, name := c.Client(t), c.Prefix(t)+"m"
		holder, p := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
		h := holder.take(t, k.first, name)
		why := errors.New("why")
		ctx, cancel := context.WithCancelCause(guarded(t))
		done, e := p.queueUpTo(ctx, t, k.next, name)
		cancel(why)
		o := await(t, done, "it returns")
		require.Nil(t, o.hold)
		require.ErrorIs(t, o.err, context.Canceled)
		require.ErrorIs(t, o.err, why)
		awaitDelete(t, operator, e.Key, e.Revision)
		require.Equal(t, []string{h.Key()}, keys(queueOf(t, operator, name)))
		unlock(t, h)
		unlock(t, p.take(t, k.next, name))
	})
}

func TestAnyWaiterReturnsWhenItsContextEndsInAPartition(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	eachContest(t, contests, func(t *testing.T, k contest) {
		t.Helper()
		operator, name := c.Client(t), c.Prefix(t)+"m"
		holder, p := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
		h := holder.take(t, k.first, name)
		ctx, cancel := context.WithCancel(guarded(t))
		done, e := p.queueUpTo(ctx, t, k.next, name)
		p.Net.Cut()
		cancel()
		require.ErrorIs(t, await(t, done, "it returns").err, context.Canceled)
		require.Len(t, queueOf(t, operator, name), 2, "still cut off")
		p.Net.Heal()
		awaitDelete(t, operator, e.Key, e.Revision)
		unlock(t, h)
		awaitQueue(t, operator, name, 0)
	})
}

func TestAnyAcquisitionReturnsWhenItsContextEndsWhileItsEnqueueIsUnderWay(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	eachContest(t, contests, func(t *testing.T, k contest) {
		t.Helper()
		operator, name := c.Client(t), c.Prefix(t)+"m"
		p := newPeer(t, c, withTTL(calm))
		p.Net.CutToServer()
		ctx, cancel := context.WithTimeout(t.Context(), aBit)
		defer cancel()
		_, err := k.next(ctx, p, name)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		p.Net.Heal() // delivers what was sent
		unlock(t, p.take(t, k.next, name))
		awaitQueue(t, operator, name, 0)
	})
}

func TestAnyAcquisitionRecognisesItsEntryWhenRepliesAreLost(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	eachContest(t, contests, func(t *testing.T, k contest) {
		t.Helper()
		operator, name := c.Client(t), c.Prefix(t)+"m"
		holder, p := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
		for _, lostReplies := range []int{1, 3} {
			dropped := holder.Rec.DropReplies("Txn", lostReplies)
			h := holder.take(t, k.first, name)
			await(t, dropped, "the lost reply to the enqueue")
			requireOnly(t, operator, name, h)

			dropped = p.Rec.DropReplies("Txn", lostReplies)
			done := p.takeSoon(guarded(t), k.next, name)
			await(t, dropped, "the lost reply to the enqueue behind it")
			awaitQueue(t, operator, name, 2)
			stillWaits(t, done)

			dropped = holder.Rec.DropReplies("Txn", lostReplies)
			unlock(t, h)
			await(t, dropped, "the lost reply to the unlocking")
			next := granted(t, done)
			requireOnly(t, operator, name, next)
			unlock(t, next)
			require.Empty(t, queueOf(t, operator, name))
		}
	})
}

func TestAnyWaiterIsGrantedWhenTheReplyToItsWakeUpReadIsLost(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	// A mutex that is the second does not read.
	others := slices.DeleteFunc(slices.Clone(contests), func(k contest) bool { return k.name == "mutex behind a multi" })
	eachContest(t, others, func(t *testing.T, k contest) {
		t.Helper()
		name := c.Prefix(t) + "m"
		holder, p := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
		h := holder.take(t, k.first, name)
		done, e := p.queueUpTo(guarded(t), t, k.next, name)
		dropped := p.Rec.DropReplies("Txn", 2)
		unlock(t, h)
		await(t, dropped, "the lost reply")
		next := granted(t, done)
		require.Equal(t, e.Revision, next.Token().Revision(), "its place was kept")
		unlock(t, next)
	})
}

// endings are how a waiting acquisition ends. What the function returns ends it.
var endings = map[string]func(t *testing.T, c *etcdtest.Cluster, how how, name string) (end func()){
	"cancelled": func(t *testing.T, c *etcdtest.Cluster, how how, name string) func() {
		t.Helper()
		ctx, cancel := context.WithCancel(guarded(t))
		done, _ := newPeer(t, c).queueUpTo(ctx, t, how, name)
		return func() {
			cancel()
			require.Error(t, await(t, done, "it returns").err)
		}
	},
	"dead": func(t *testing.T, c *etcdtest.Cluster, how how, name string) func() {
		t.Helper()
		p := newPeer(t, c, withTTL(calm))
		ctx, cancel := context.WithCancel(guarded(t))
		done, _ := p.queueUpTo(ctx, t, how, name)
		return func() {
			p.Net.Cut()
			revoke(t, c.Client(t), p.LeaseID(t)) // as if it had expired
			t.Cleanup(func() {
				cancel()
				await(t, done, "it returns")
			})
		}
	},
	"its session closed": func(t *testing.T, c *etcdtest.Cluster, how how, name string) func() {
		t.Helper()
		p := newPeer(t, c)
		done, _ := p.queueUpTo(guarded(t), t, how, name)
		return func() {
			require.NoError(t, p.Session.Close(guarded(t)))
			require.ErrorIs(t, await(t, done, "it returns").err, lease.ErrClosed)
		}
	},
	"its lease revoked": func(t *testing.T, c *etcdtest.Cluster, how how, name string) func() {
		t.Helper()
		p := newPeer(t, c, withTTL(calm))
		ctx, cancel := context.WithCancel(guarded(t))
		done, _ := p.queueUpTo(ctx, t, how, name)
		return func() {
			revoke(t, c.Client(t), p.LeaseID(t))
			t.Cleanup(func() {
				cancel()
				await(t, done, "it returns")
			})
		}
	},
}

func TestAnyWaiterIsGrantedAfterTheEntryBeforeItEnds(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, enter := range endings {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			eachContest(t, slices.Concat(contests, passings), func(t *testing.T, k contest) {
				t.Helper()
				name := c.Prefix(t) + "m"
				holder, p := newPeer(t, c), newPeer(t, c, withTTL(calm))
				h := holder.take(t, k.first, name)
				end := enter(t, c, k.between, name)
				done, e := p.queueUpTo(guarded(t), t, k.next, name)
				watched := p.watching()
				end()
				if !k.after {
					p.awaitWatching(t, watched+1)
					stillWaits(t, done)
					unlock(t, h)
				}
				next := granted(t, done)
				require.Equal(t, e.Revision, next.Token().Revision(), "its place was kept")
				unlock(t, next)
				if k.after {
					unlock(t, h)
				}
			})
		})
	}
}

func TestAnyWaiterIsGrantedAfterTheHolderEnds(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator := c.Client(t)
	expires := []string{"dead", "its client closed"} // with the lease: the tests of Mutex, permits and Downgrade wait for that, too
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
			if slices.Contains(expires, what) {
				suite.Nightly(t)
			}
			eachContest(t, contests, func(t *testing.T, k contest) {
				t.Helper()
				name := c.Prefix(t) + "m"
				holder, p := newPeer(t, c, withTTL(unhurried)), newPeer(t, c, withTTL(calm))
				h := holder.take(t, k.first, name)
				done, _ := p.queueUpTo(guarded(t), t, k.next, name)
				require.NoError(t, end(holder, h))
				next := granted(t, done)
				lost(t, h)
				unlock(t, next)
				require.ErrorIs(t, h.Unlock(guarded(t)), lock.ErrLost)
			})
		})
	}
}

func TestAnyWaiterWhoseKeyIsDeletedQueuesAgain(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator := c.Client(t)
	for what, ttl := range map[string]peertest.Option{"at the next look": withTTL(unhurried), "when it is woken": withTTL(calm)} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			eachContest(t, contests, func(t *testing.T, k contest) {
				t.Helper()
				name := c.Prefix(t) + "m"
				holder, p := newPeer(t, c), newPeer(t, c, ttl)
				h := holder.take(t, k.first, name)
				done, e := p.queueUpTo(guarded(t), t, k.next, name)
				remove(t, operator, e.Key)
				if what == "at the next look" {
					p.hurry(t)
					again := await(t, p.Waiting, "it queues again")
					require.Greater(t, again.Revision, e.Revision)
					awaitQueue(t, operator, name, 2)
					stillWaits(t, done)
				}
				unlock(t, h)
				next := granted(t, done)
				require.Greater(t, next.Token().Revision(), e.Revision)
				unlock(t, next)
			})
		})
	}
}

func TestAnyWaiterWhoseLeaseIsRevokedQueuesAgainOnAnother(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator := c.Client(t)
	eachContest(t, contests, func(t *testing.T, k contest) {
		t.Helper()
		name := c.Prefix(t) + "m"
		holder, p := newPeer(t, c), newPeer(t, c, withTTL(unhurried))
		h := holder.take(t, k.first, name)
		done, e := p.queueUpTo(guarded(t), t, k.next, name)
		revoke(t, operator, p.LeaseID(t))
		p.hurry(t)
		again := await(t, p.Waiting, "it queues again")
		require.Greater(t, again.Revision, e.Revision)
		require.NotEqual(t, e.Key, again.Key)
		stillWaits(t, done)
		unlock(t, h)
		next := granted(t, done)
		require.EqualValues(t, p.LeaseID(t), get(t, operator, next.Key()).Lease)
		unlock(t, next)
	})
}

func TestAnyWaiterIsGrantedByTheLookWhenNoEventComes(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	eachContest(t, contests, func(t *testing.T, k contest) {
		t.Helper()
		name := c.Prefix(t) + "m"
		holder, p := newPeer(t, c), newPeer(t, c, withTTL(unhurried))
		h := holder.take(t, k.first, name)
		done, e := p.queueUpTo(guarded(t), t, k.next, name)
		p.Rec.HookStream(func(_ string, d etcdtest.Direction, msg any) (bool, error) {
			resp, ok := msg.(*pb.WatchResponse)
			return ok && d == etcdtest.Recv && len(resp.Events) > 0, nil
		})
		unlock(t, h)
		p.hurry(t)
		next := granted(t, done)
		require.Equal(t, e.Revision, next.Token().Revision())
		unlock(t, next)
	})
}

func TestAnyHoldIsReleasedAfterAPartitionInWhichItWasUnlocked(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	eachContest(t, contests, func(t *testing.T, k contest) {
		t.Helper()
		name := c.Prefix(t) + "m"
		holder, p := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
		h := holder.take(t, k.first, name)
		done, _ := p.queueUpTo(guarded(t), t, k.next, name)
		holder.Net.Cut()
		ctx, cancel := context.WithCancel(t.Context())
		unlocked := make(chan error, 1)
		go func() { unlocked <- h.Unlock(ctx) }()
		await(t, h.Context().Done(), "the hold ends at once")
		cancel()
		require.ErrorIs(t, await(t, unlocked, "Unlock returns"), context.Canceled)
		stillWaits(t, done)
		holder.Net.Heal()
		unlock(t, granted(t, done))
		unlock(t, h)
	})
}
