package lock_test

import (
	"context"
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
	p := waiter(t, c)
	h, done, e := beyond(t, c, p, "m")
	dropped := p.Rec.DropReplies("Txn", 2)
	unlock(t, h)
	await(t, dropped, "the lost reply")
	next := granted(t, done)
	require.Equal(t, e.Revision, next.Token().Revision(), "its place was kept")
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
