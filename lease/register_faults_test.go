package lease_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/lease"
)

func TestAWriteWhoseReplyIsLostIsFoundToHaveSucceeded(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	events := g.op.watch(t, g.key)
	g.rec.DropReplies("Txn", 1)
	r := g.register(t, "v")
	require.Equal(t, "v", string(awaitPut(t, events).Kv.Value))
	g.rec.DropReplies("Txn", 1)
	require.NoError(t, r.Update(guarded(t), "w"))
	require.Equal(t, "w", string(awaitPut(t, events).Kv.Value))
	g.rec.DropReplies("Txn", 1)
	require.NoError(t, r.Close(guarded(t)))
	awaitDelete(t, events)
	require.Empty(t, events, "nothing was written twice")
	require.Zero(t, inside.Keys(liveLease(t, g.Session)).Doubts())
}

// The put is under way when the caller gives up, and is carried out after that.
func TestAKeyPutAfterItsCallerGaveUpIsRemoved(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	events := g.op.watch(t, g.key)
	ctx, giveUp := context.WithCancel(t.Context())
	left := make(chan struct{})
	var once sync.Once
	g.rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
		first := false
		once.Do(func() { first = true })
		if first {
			giveUp()
			<-left
		}
		return invoke()
	})
	given, err := lease.Register(ctx, g.Session, g.key, "v")
	close(left)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, g.key)
	require.NoError(t, given.Close(guarded(t)), "it waits for the removal")
	g.op.requireNoKey(t, g.key)
	awaitPut(t, events)
	awaitDelete(t, events)
	g.round(t)
	require.Empty(t, events)
	list := inside.Keys(liveLease(t, g.Session))
	eventually(t, func() bool { return list.Doubts() == 0 }, "nothing is in doubt")
}

// stuckPut has a registration given up whose put got stuck on its way, and returns
// the put. The key is absent, and in doubt.
func stuckPut(t *testing.T, g registry) *pb.TxnRequest {
	t.Helper()
	ctx, giveUp := context.WithCancel(t.Context())
	stuck := make(chan *pb.TxnRequest, 1)
	var remove func()
	hooked := make(chan struct{})
	remove = g.rec.Hook("Txn", func(_ context.Context, req any, _ func() error) error {
		<-hooked
		remove()
		if txn, ok := req.(*pb.TxnRequest); ok {
			stuck <- proto.CloneOf(txn)
		}
		giveUp()
		return status.Error(codes.Unavailable, "no reply")
	})
	close(hooked)
	_, err := lease.Register(ctx, g.Session, g.key, "v")
	require.ErrorIs(t, err, context.Canceled)
	list := inside.Keys(liveLease(t, g.Session))
	eventually(t, func() bool { return list.Doubts() == 1 }, "the key is in doubt")
	g.op.requireNoKey(t, g.key)
	return await(t, stuck, "the request")
}

// Found absent once proves nothing: the put is carried out after its own removal.
func TestAPutThatArrivesAfterItsRemovalIsRemovedByTheLook(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	put := stuckPut(t, g)
	list := inside.Keys(liveLease(t, g.Session))
	g.round(t)
	g.round(t)
	require.Equal(t, 1, list.Doubts(), "absence settles nothing")

	_, err := pb.NewKVClient(g.op.ActiveConnection()).Txn(guarded(t), put)
	require.NoError(t, err)
	g.op.requireKey(t, g.key, "v", g.id(t))
	g.round(t)
	eventually(t, func() bool { return list.Doubts() == 0 }, "the look settles the doubt")
	g.op.requireNoKey(t, g.key)
}

func TestAKeyInDoubtCanBeRegisteredAgain(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"another", "v"} { // v is what the old put brings
		g := newRegistry(t)
		put := stuckPut(t, g)
		list := inside.Keys(liveLease(t, g.Session))
		r := g.register(t, value)
		events := g.op.watch(t, g.key)
		g.round(t)
		g.round(t)
		require.Empty(t, events, "the look leaves the new entry alone")
		g.op.requireKey(t, g.key, value, g.id(t))

		require.NoError(t, r.Close(guarded(t)))
		awaitDelete(t, events)
		require.Equal(t, 1, list.Doubts(), "the old put may still arrive")
		_, err := pb.NewKVClient(g.op.ActiveConnection()).Txn(guarded(t), put)
		require.NoError(t, err)
		awaitPut(t, events)
		g.round(t)
		awaitDelete(t, events)
		eventually(t, func() bool { return list.Doubts() == 0 }, "the look settles the doubt")
	}
}

func TestALookThatFoundAKeyInDoubtDoesNotRemoveItsRegistration(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	put := stuckPut(t, g)
	_, err := pb.NewKVClient(g.op.ActiveConnection()).Txn(guarded(t), put)
	require.NoError(t, err)
	removing, let, removed := make(chan struct{}), make(chan struct{}), make(chan struct{})
	g.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		txn, ok := req.(*pb.TxnRequest)
		if !ok || len(txn.Success) != 1 || !deletes(txn.Success[0]) {
			return invoke()
		}
		close(removing)
		<-let
		defer close(removed)
		return invoke()
	})
	g.round(t)
	await(t, removing, "the removal of what was found")
	r := g.register(t, "v")
	events := g.op.watch(t, g.key)
	close(let)
	await(t, removed, "the removal")
	g.op.requireKey(t, g.key, "v", g.id(t))
	require.Empty(t, events)
	require.NoError(t, r.Err())
}

// deletes reports whether an operation is a transaction that deletes a key.
func deletes(op *pb.RequestOp) bool {
	return slices.ContainsFunc(op.GetRequestTxn().GetSuccess(), func(op *pb.RequestOp) bool { return op.GetRequestDeleteRange() != nil })
}

func TestClosingTheSessionDuringRegisterEndsIt(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	putting := make(chan struct{}, 1)
	g.rec.Hook("Txn", func(ctx context.Context, _ any, _ func() error) error {
		putting <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	failed := make(chan error, 1)
	go func() {
		_, err := lease.Register(t.Context(), g.Session, g.key, "v")
		failed <- err
	}()
	await(t, putting, "the put")
	require.NoError(t, g.Close(guarded(t)))
	require.ErrorIs(t, await(t, failed, "Register"), lease.ErrClosed)
	g.op.requireNoKey(t, g.key)
}

func TestClosingTheSessionEndsItsRegistrations(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	r := g.register(t, "v")
	require.NoError(t, g.Close(guarded(t)))
	g.op.requireNoKey(t, g.key)
	require.ErrorIs(t, r.Err(), lease.ErrClosed)
	require.ErrorIs(t, r.Update(guarded(t), "w"), lease.ErrClosed)
	require.NoError(t, r.Close(guarded(t)))
	g.op.requireNoKey(t, g.key)
}

func TestClosingARegistrationWithADoneContextRemovesTheKeyBeforeItReturns(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	require.NoError(t, g.register(t, "v").Close(ended(t)))
	g.op.requireNoKey(t, g.key)
}

func TestARegistrationOnALeaseThatIsClosedGoesToTheNext(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	begun := make(chan struct{})
	var once sync.Once
	g.rec.Hook("Txn", func(ctx context.Context, _ any, invoke func() error) error {
		first := false
		once.Do(func() { first = true })
		if first {
			close(begun)
			<-ctx.Done()
			return ctx.Err()
		}
		return invoke()
	})
	registered := make(chan error, 1)
	go func() {
		_, err := lease.Register(guarded(t), g.Session, g.key, "v")
		registered <- err
	}()
	await(t, begun, "the put")
	require.NoError(t, liveLease(t, g.Session).Close(guarded(t)))
	require.NoError(t, await(t, registered, "Register"))
	g.op.requireKey(t, g.key, "v", g.id(t))
}

func TestClosingARegistrationWithADoneContextStillRemovesTheKey(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	r := g.register(t, "v")
	events := g.op.watch(t, g.key)
	let := make(chan struct{})
	g.rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
		<-let
		return invoke()
	})
	require.ErrorIs(t, r.Close(ended(t)), context.Canceled)
	require.ErrorIs(t, r.Err(), lease.ErrClosed, "over at once")
	close(let)
	awaitDelete(t, events)
	require.NoError(t, r.Close(guarded(t)))
}

// holdFirst has the next Txn of g wait until it is answered with what arrives on verdict:
// the server's answer if that is nil. begun receives when it has begun.
func holdFirst(g registry) (begun <-chan struct{}, verdict chan<- error) {
	held, answer := make(chan struct{}, 1), make(chan error, 1)
	var once sync.Once
	g.rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
		first := false
		once.Do(func() { first = true })
		if first {
			held <- struct{}{}
			if err := <-answer; err != nil {
				return err
			}
		}
		return invoke()
	})
	return held, answer
}

func TestARefusalOfARegistrationThatWasReplacedIsNotItsSuccessors(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	begun, verdict := holdFirst(g)
	ctx, giveUp := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := lease.Register(ctx, g.Session, g.key, "v")
		first <- err
	}()
	await(t, begun, "the put")
	giveUp()
	require.ErrorIs(t, await(t, first, "Register"), context.Canceled)
	g.rec.Reset()
	second := make(chan error, 1)
	go func() {
		r, err := lease.Register(guarded(t), g.Session, g.key, "w")
		if err == nil {
			err = r.Err()
		}
		second <- err
	}()
	eventually(t, func() bool { return lease.Registering(g.Session, g.key) == "w" }, "it takes the place of the first")
	verdict <- rpctypes.ErrGRPCRequestTooLarge
	require.NoError(t, await(t, second, "Register"))
	require.LessOrEqual(t, g.rec.Count("Txn"), 3)
	g.op.requireKey(t, g.key, "w", g.id(t))
}

func TestARefusalOfARemovalIsNotForWhoHasRegisteredTheKeyAgain(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	r := g.register(t, "v")
	begun, verdict := holdFirst(g)
	closed := make(chan error, 1)
	go func() { closed <- r.Close(guarded(t)) }()
	await(t, begun, "the removal")
	again := make(chan error, 1)
	go func() {
		r, err := lease.Register(guarded(t), g.Session, g.key, "w")
		if err == nil {
			err = r.Err()
		}
		again <- err
	}()
	require.NoError(t, await(t, closed, "Close"), "the key is another's to remove")
	g.rec.Reset()
	verdict <- rpctypes.ErrGRPCPermissionDenied
	eventually(t, func() bool { return len(again) > 0 || g.rec.Count("Txn") > 10 }, "Register")
	require.NotEmpty(t, again, "it is written over and over")
	require.NoError(t, <-again)
	g.op.requireKey(t, g.key, "w", g.id(t))
}

func TestARemovalThatWasRefusedCanBeAskedForAgain(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	r := g.register(t, "v")
	for range 2 {
		refused := g.rec.RefuseCalls("Txn", 1, rpctypes.ErrGRPCPermissionDenied)
		require.Equal(t, codes.PermissionDenied, attempt.Code(r.Close(guarded(t))))
		await(t, refused, "a request")
		g.op.requireKey(t, g.key, "v", g.id(t))
	}
	require.NoError(t, r.Close(guarded(t)))
	g.op.requireNoKey(t, g.key)
	require.NoError(t, r.Close(guarded(t)))
}

func TestARefusedUpdateDoesNotKeepTheKeyFromItsRemoval(t *testing.T) {
	t.Parallel()
	for _, refusal := range []error{rpctypes.ErrGRPCRequestTooLarge, rpctypes.ErrGRPCPermissionDenied} {
		g := newRegistry(t)
		r := g.register(t, "v")
		begun, verdict := holdFirst(g)
		updated := make(chan error, 1)
		go func() { updated <- r.Update(guarded(t), "w") }()
		await(t, begun, "the update")
		require.ErrorIs(t, r.Close(ended(t)), context.Canceled)
		verdict <- refusal
		require.ErrorIs(t, await(t, updated, "Update"), lease.ErrClosed)
		require.NoError(t, r.Close(guarded(t)))
		g.op.requireNoKey(t, g.key)
	}
}

func TestARefusedUpdateDoesNotUndoTheNext(t *testing.T) {
	t.Parallel()
	for _, refusal := range []error{rpctypes.ErrGRPCRequestTooLarge, rpctypes.ErrGRPCPermissionDenied} {
		g := newRegistry(t)
		r := g.register(t, "v")
		begun, verdict := holdFirst(g)
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- r.Update(guarded(t), "too large") }()
		await(t, begun, "the update")
		go func() { second <- r.Update(guarded(t), "good") }()
		eventually(t, func() bool { return lease.Registering(g.Session, g.key) == "good" }, "it is wanted")
		verdict <- refusal
		require.NoError(t, await(t, second, "Update"))
		g.op.requireKey(t, g.key, "good", g.id(t))
		require.NoError(t, r.Err())
		_ = await(t, first, "Update") // the refusal, unless it comes to look after the second is in place
	}
}

// The lease that it has left has passed its deadline, which nobody has noticed yet.
func TestAListenerMayAskARegistrationWhoseLeaseIsFoundToHaveEnded(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	var rec etcdtest.Recorder
	var r atomic.Pointer[lease.Registration]
	listened := make(chan bool, 10)
	s := newSession(t, c.Client(t, etcdtest.WithRecorder(&rec)), lease.WithTTL(unhurried), lease.WithStateListener(func(_ *lease.Lease, state lease.State) {
		if state != lease.Lost {
			return
		}
		answered := make(chan struct{})
		go func() {
			_ = r.Load().Err()
			close(answered)
		}()
		select {
		case <-answered:
			listened <- true
		case <-time.After(guard / 6):
			listened <- false
		}
	}))
	key := c.Prefix(t) + "k"
	placed, err := lease.Register(guarded(t), s, key, "v")
	require.NoError(t, err)
	r.Store(placed)
	l := liveLease(t, s)
	refused := make(chan struct{})
	var once sync.Once
	allow := rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		if ops := operations(req); len(ops) == 0 || ops[0].GetRequestTxn() == nil { // a look
			return invoke()
		}
		once.Do(func() { l.Overdue(); close(refused) })
		return rpctypes.ErrGRPCPermissionDenied
	})
	wearOut(l) // so that the registration moves to another lease
	inside.Keys(l).Hurry()
	await(t, refused, "the put under that")
	allow()
	eventually(t, func() bool { return l.Err() != nil }, "the end")
	require.True(t, await(t, listened, "the listener"))
}
