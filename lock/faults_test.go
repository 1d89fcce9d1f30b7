package lock_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// puts reports whether a transaction puts something.
func puts(txn *pb.TxnRequest) bool {
	for _, op := range txn.Success {
		if op.GetRequestPut() != nil {
			return true
		}
	}
	return false
}

// awaitRounds waits until the session's lease has been renewed n times more.
func (p *peer) awaitRounds(t *testing.T, n int) {
	t.Helper()
	looks := func() (done int) {
		for _, c := range p.Rec.Calls() {
			if txn, ok := c.Request.(*pb.TxnRequest); ok && c.Response != nil && !c.IsWrite() && len(txn.Compare) == 0 {
				done++
			}
		}
		return done
	}
	n += looks()
	eventually(t, func() bool { return looks() >= n }, "%d looks", n)
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

func TestLockReturnsWhenItsDeadlinePassesWhileTheEnqueueIsUnderWay(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator, name := c.Client(t), c.Prefix(t)+"m"
	for what, lockOrTry := range map[string]func(*lock.Mutex, context.Context) (*lock.Hold, error){
		"Lock": (*lock.Mutex).Lock, "TryLock": (*lock.Mutex).TryLock,
	} {
		p := newPeer(t, c, withTTL(calm))
		p.Net.CutToServer()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		t.Cleanup(cancel)
		_, err := lockOrTry(p.mutex(t, name), ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded, what)
		require.Empty(t, queueOf(t, operator, name))
		p.Net.Heal() // delivers what was sent
		unlock(t, p.lock(t, name))
		awaitQueue(t, operator, name, 0)
	}
}

func TestEnqueueThatArrivesAfterItWasGivenUpIsUndone(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, lockOrTry := range map[string]func(*lock.Mutex, context.Context) (*lock.Hold, error){
		"Lock": (*lock.Mutex).Lock, "TryLock": (*lock.Mutex).TryLock,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			operator, name := c.Client(t), c.Prefix(t)+"m"
			p := newPeer(t, c, withTTL(unhurried))
			swallowed := make(chan *pb.TxnRequest, 100)
			remove := p.Rec.Hook("Txn", func(ctx context.Context, req any, invoke func() error) error {
				txn, ok := req.(*pb.TxnRequest)
				if !ok || !puts(txn) {
					return invoke()
				}
				swallowed <- proto.CloneOf(txn)
				<-ctx.Done()
				return ctx.Err()
			})
			ctx, cancel := context.WithCancel(guarded(t))
			failed := make(chan error, 1)
			m := p.mutex(t, name)
			go func() {
				_, err := lockOrTry(m, ctx)
				failed <- err
			}()
			late := await(t, swallowed, "the enqueue")
			cancel()
			require.ErrorIs(t, await(t, failed, "it returns"), context.Canceled)
			remove()

			// That looks have not found it proves nothing.
			p.awaitRounds(t, 2)
			resp, err := pb.NewKVClient(operator.ActiveConnection()).Txn(guarded(t), late)
			require.NoError(t, err)
			require.True(t, resp.Succeeded)
			key := string(late.Success[0].GetRequestPut().Key)
			h := p.lock(t, name) // waits until the late entry is gone
			require.Nil(t, get(t, operator, key))
			require.NotEqual(t, key, h.Key(), "a key in doubt is not used")
			require.Equal(t, []string{h.Key()}, keys(queueOf(t, operator, name)))
			unlock(t, h)
		})
	}
}

func TestLockRecognisesItsEntryWhenTheRepliesToTheEnqueueAreLost(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for _, lostReplies := range []int{1, 3} {
		name := c.Prefix(t) + "m"
		p, other := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
		dropped := p.Rec.DropReplies("Txn", lostReplies)
		h := p.lock(t, name)
		await(t, dropped, "the lost reply")
		requireOnly(t, p.Client, name, h)
		require.Equal(t, fmt.Sprintf("%s/~mutex/%x", name, int64(p.LeaseID(t))), h.Key(), "not another entry")

		dropped = other.Rec.DropReplies("Txn", lostReplies)
		done := other.lockSoon(guarded(t), t, name)
		await(t, dropped, "the lost reply")
		awaitQueue(t, p.Client, name, 2)
		stillWaits(t, done)
		unlock(t, h)
		h = granted(t, done)
		requireOnly(t, p.Client, name, h)
		unlock(t, h)
		require.Empty(t, queueOf(t, p.Client, name))
	}
}

// requireOnly requires that the hold's entry is alone in the queue.
func requireOnly(t *testing.T, client *clientv3.Client, name string, h *lock.Hold) {
	t.Helper()
	entries := queueOf(t, client, name)
	require.Len(t, entries, 1)
	require.Equal(t, h.Key(), entries[0].Key)
	require.Equal(t, h.Token(), entries[0].Token)
}

func TestTryLockRecognisesItsEntryWhenTheReplyIsLost(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "m"
	p, other := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
	p.Rec.DropReplies("Txn", 2)
	h, err := p.mutex(t, name).TryLock(guarded(t))
	require.NoError(t, err)
	requireOnly(t, p.Client, name, h)
	other.Rec.DropReplies("Txn", 2)
	_, err = other.mutex(t, name).TryLock(guarded(t))
	require.ErrorIs(t, err, lock.ErrLocked)
	requireOnly(t, p.Client, name, h)
	unlock(t, h)
}

func TestUnlockSucceedsWhenItsRepliesAreLost(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "m"
	p := newPeer(t, c, withTTL(calm))
	for _, lostReplies := range []int{1, 3} {
		h := p.lock(t, name)
		dropped := p.Rec.DropReplies("Txn", lostReplies)
		unlock(t, h)
		await(t, dropped, "the lost reply")
		unlock(t, h)
		require.Empty(t, queueOf(t, p.Client, name))
	}
	h := p.lock(t, name)
	require.Equal(t, get(t, p.Client, h.Key()).CreateRevision, h.Token().Revision())
	unlock(t, h)
}

func TestWaiterIsGrantedWhenTheReplyToTheWakeUpReadIsLost(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl()) // nobody else moves the store: no read before
	p, holder := waiter(t, c), newPeer(t, c, withTTL(calm))
	h := holder.lock(t, "m")
	done, e := p.queueUp(guarded(t), t, "m")
	dropped := p.Rec.DropReplies("Txn", 2)
	unlock(t, h)
	await(t, dropped, "the lost reply")
	next := granted(t, done)
	require.Equal(t, e.Revision, next.Token().Revision(), "its place was kept")
	unlock(t, next)
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
			p := newPeer(t, c, withTTL(c.MinTTL(t)))
			ctx, cancel := context.WithCancel(guarded(t))
			done, _ := p.queueUp(ctx, t, name)
			return func() {
				p.Net.Cut()
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
			l, err := client.Grant(guarded(t), 1)
			require.NoError(t, err)
			put(t, client, name+"/~mutex/dead", "{}", clientv3.WithLease(l.ID))
			return func() {} // expires by itself
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
			end()
			p.AwaitWatch(t, h.Key())
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
	lost(t, h)
	require.ErrorIs(t, h.Err(), lease.ErrLost)
	require.ErrorIs(t, h.Unlock(guarded(t)), lock.ErrLost)
	next := p.lock(t, name)
	require.Greater(t, next.Token(), h.Token())
	unlock(t, next)
}

func TestWaiterKeepsItsPlaceThroughReconnects(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, fault := range map[string]func(p *peer, release func()){
		"reset": func(p *peer, release func()) {
			p.Net.Reset()
			release()
		},
		"released while disconnected": func(p *peer, release func()) {
			p.Net.Refuse()
			release()
			p.Net.Heal()
		},
		"released during a partition": func(p *peer, release func()) {
			p.Net.Cut()
			release()
			p.Net.Heal()
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			name := c.Prefix(t) + "m"
			holder, p := newPeer(t, c), newPeer(t, c)
			h := holder.lock(t, name)
			done, e := p.queueUp(guarded(t), t, name)
			fault(p, func() { unlock(t, h) })
			next := granted(t, done)
			require.Equal(t, e.Revision, next.Token().Revision())
			unlock(t, next)
		})
	}
}

func TestWaiterKeepsItsPlaceThroughCompaction(t *testing.T) {
	t.Parallel()
	for _, released := range []bool{false, true} {
		c := etcdtest.New(t, etcdtest.WithControl())
		operator := c.Client(t)
		holder, p := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
		h := holder.lock(t, "m")
		done, e := p.queueUp(guarded(t), t, "m")
		// Its watch has to go on from a revision that is no more.
		p.Net.Refuse()
		if released {
			unlock(t, h)
		}
		put(t, operator, "k", "1")
		put(t, operator, "k", "2")
		require.NoError(t, c.Compact(guarded(t)))
		p.Net.Heal()
		eventually(t, func() bool { return compacted(p.Rec) }, "the watch fails")
		if !released {
			unlock(t, h)
		}
		next := granted(t, done)
		require.Equal(t, e.Revision, next.Token().Revision())
		unlock(t, next)
	}
}

func compacted(rec *etcdtest.Recorder) bool {
	for _, c := range rec.Calls() {
		if resp, ok := c.Response.(*pb.WatchResponse); ok && resp.CompactRevision != 0 {
			return true
		}
	}
	return false
}

func TestPredecessorGoneWithoutAnEventIsFoundByTheLook(t *testing.T) {
	t.Parallel()
	// Nobody else may write, or the waiter reads as its watch begins, and that may be
	// what finds the predecessor gone.
	c, name := etcdtest.New(t, etcdtest.WithControl()), "m"
	holder, p := newPeer(t, c), newPeer(t, c, withTTL(unhurried))
	h := holder.lock(t, name)
	done, e := p.queueUp(guarded(t), t, name)
	p.Rec.HookStream(func(method string, d etcdtest.Direction, msg any) (bool, error) {
		resp, ok := msg.(*pb.WatchResponse)
		return ok && d == etcdtest.Recv && len(resp.Events) > 0, nil
	})
	streams := p.Rec.Count("WatchStream")
	unlock(t, h)
	next := granted(t, done)
	require.Equal(t, e.Revision, next.Token().Revision())

	// The stream that kept quiet is not used again.
	done, _ = p.queueUp(guarded(t), t, name)
	require.Greater(t, p.Rec.Count("WatchStream"), streams)
	unlock(t, next)
	unlock(t, granted(t, done))
}

func TestWatchThatIsNeverCreatedIsOpenedAnew(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "m"
	holder, p := newPeer(t, c), newPeer(t, c, withTTL(unhurried))
	h := holder.lock(t, name)
	swallowed := make(chan struct{}, 100)
	p.Rec.HookStream(func(_ string, d etcdtest.Direction, msg any) (bool, error) {
		req, ok := msg.(*pb.WatchRequest)
		if !ok || d != etcdtest.Send || req.GetCreateRequest() == nil || len(swallowed) > 0 {
			return false, nil
		}
		swallowed <- struct{}{}
		return true, nil
	})
	done, e := p.queueUp(guarded(t), t, name) // until another is
	require.Len(t, swallowed, 1)
	unlock(t, h)
	next := granted(t, done)
	require.Equal(t, e.Revision, next.Token().Revision())
	unlock(t, next)
}

// A member whose leader is changing refuses writes with an error that has no code.
func TestDroppedProposalsAreRepeated(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	dropped := func() {
		var left atomic.Int64
		left.Store(2)
		p.Rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
			if left.Add(-1) >= 0 {
				return status.Error(codes.Unknown, "raft proposal dropped")
			}
			return invoke()
		})
	}
	dropped()
	h := p.lock(t, name)
	dropped()
	unlock(t, h)
	dropped()
	h, err := p.mutex(t, name).TryLock(guarded(t))
	require.NoError(t, err)
	unlock(t, h)
	require.Empty(t, queueOf(t, p.Client, name))
}

func TestRefusalsAreReturnedAtOnce(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.EnableAuth(guarded(t)))
	require.NoError(t, c.AddUser(guarded(t), "user", "password", "theirs/"))
	p := newPeer(t, c, withTTL(calm), withClient(etcdtest.WithUser("user", "password")))
	for _, lockOrTry := range []func(*lock.Mutex, context.Context) (*lock.Hold, error){
		(*lock.Mutex).Lock, (*lock.Mutex).TryLock,
	} {
		_, err := lockOrTry(p.mutex(t, "others/m"), guarded(t))
		require.ErrorIs(t, err, rpctypes.ErrPermissionDenied)
		h, err := lockOrTry(p.mutex(t, "theirs/m"), guarded(t))
		require.NoError(t, err)
		unlock(t, h)
	}
}
