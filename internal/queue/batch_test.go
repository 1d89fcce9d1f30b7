package queue_test

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
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// together is a peer whose entries of several names go out together.
type together struct {
	*peertest.Peer

	t      *testing.T
	prefix string
}

func newTogether(t *testing.T) *together {
	t.Helper()
	c := etcdtest.New(t)
	return &together{peertest.New(t, c), t, c.Prefix(t)}
}

// acquired is what Acquire has returned.
type acquired struct {
	name  string
	grant *queue.Grant
	err   error
}

// name returns the i-th name.
func (p *together) name(i int) string { return fmt.Sprintf("%s%02d", p.prefix, i) }

// ask acquires names in the background, and returns when their enqueues are gathered.
func (p *together) ask(ctx context.Context, g queue.Gathered, names ...string) chan acquired {
	p.t.Helper()
	done := make(chan acquired, len(names)+1)
	for _, name := range names {
		asked := g.Asked()
		go func() {
			grant, err := exclusive(p.Peer, name).Acquire(ctx)
			done <- acquired{name, grant, err}
		}()
		peertest.Eventually(p.t, func() bool { return g.Asked() == asked+1 }, "%s is asked for", name)
	}
	return done
}

func (p *together) names(n int) (all []string) {
	for i := range n {
		all = append(all, p.name(i))
	}
	return all
}

// granted requires that n acquisitions have succeeded.
func (p *together) granted(done <-chan acquired, n int) (all []*queue.Grant) {
	p.t.Helper()
	for range n {
		a := peertest.Await(p.t, done, "Acquire returns")
		require.NoError(p.t, a.err, a.name)
		all = append(all, a.grant)
	}
	return all
}

// release releases grants one after the other.
func (p *together) release(all []*queue.Grant) {
	p.t.Helper()
	for _, g := range all {
		require.NoError(p.t, g.Release(peertest.Guarded(p.t)))
	}
}

// left returns the keys that are there.
func (p *together) left() (keys []string) {
	p.t.Helper()
	resp, err := p.Client.Get(peertest.Guarded(p.t), p.prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	require.NoError(p.t, err)
	for _, kv := range resp.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys
}

// txns returns how many entries each transaction has put or deleted.
func (p *together) txns() (sizes []int) {
	for _, c := range p.Rec.Calls() {
		if req, ok := c.Request.(*pb.TxnRequest); ok && c.IsWrite() {
			sizes = append(sizes, writesOf(req))
		}
	}
	return sizes
}

func writesOf(req *pb.TxnRequest) (n int) {
	for _, op := range req.Success {
		if op.GetRequestPut() != nil || op.GetRequestDeleteRange() != nil {
			n++
		}
	}
	return n
}

// nothingOut waits for the end of all transactions: callers have their answers a moment earlier.
func nothingOut(t *testing.T, all ...queue.Gathered) {
	t.Helper()
	for _, g := range all {
		peertest.Eventually(t, func() bool { return g.Out() == 0 }, "nothing is out")
	}
}

func TestLocksThatAreAskedForTogetherGoOutTogether(t *testing.T) {
	t.Parallel()
	p := newTogether(t)
	const many = 20
	g := queue.GatherEnqueues(p.Session)
	done := p.ask(peertest.Guarded(t), g, p.names(many)...)
	p.Rec.Reset()
	g.Release()
	all := p.granted(done, many)
	require.Equal(t, []int{many}, p.txns())

	removals := queue.GatherRemovals(p.Session)
	released := make(chan error, many)
	for _, grant := range all {
		go func() { released <- grant.Release(peertest.Guarded(t)) }()
	}
	peertest.Eventually(t, func() bool { return removals.Asked() == many }, "they are released")
	require.Len(t, p.left(), many)
	p.Rec.Reset()
	removals.Release()
	for range many {
		require.NoError(t, peertest.Await(t, released, "Release returns"))
	}
	require.Equal(t, []int{many}, p.txns())
	require.Empty(t, p.left())
	nothingOut(t, g, removals)
}

func TestEachOfABatchLearnsWhoIsInItsWay(t *testing.T) {
	t.Parallel()
	p := newTogether(t)
	const many = 5
	holder := peertest.New(t, p.Cluster)
	held, err := exclusive(holder, p.name(2)).Acquire(peertest.Guarded(t))
	require.NoError(t, err)
	g := queue.GatherEnqueues(p.Session)
	done := p.ask(peertest.Guarded(t), g, p.names(many)...)
	g.Release()
	p.release(p.granted(done, many-1))
	waits := peertest.Await(t, p.Waiting, "one waits")
	require.Equal(t, held.Key(), waits.Predecessor)
	require.Equal(t, held.Revision(), waits.Followed)
	require.NoError(t, held.Release(peertest.Guarded(t)))
	p.release(p.granted(done, 1))
}

func TestALoneLockGoesOutAtOnce(t *testing.T) {
	t.Parallel()
	p := newTogether(t)
	q := exclusive(p.Peer, p.name(0))
	for range 3 {
		g, err := q.Acquire(peertest.Guarded(t))
		require.NoError(t, err)
		require.NoError(t, g.Release(peertest.Guarded(t)))
	}
	require.Equal(t, []int{1, 1, 1, 1, 1, 1}, p.txns())
}

// A crowd for one name goes out side by side.
func TestNoTransactionHasTwoEntriesOfOneName(t *testing.T) {
	t.Parallel()
	p := newTogether(t)
	g := queue.GatherEnqueues(p.Session)
	a, b := p.name(0), p.name(1)
	done := p.ask(peertest.Guarded(t), g, a, b)
	p.Rec.Reset()
	go func() {
		grant, err := exclusive(p.Peer, a).Acquire(peertest.Guarded(t))
		done <- acquired{a, grant, err}
	}()
	for range 2 {
		got := peertest.Await(t, done, "both are granted, in turn")
		require.NoError(t, got.err)
		require.Equal(t, a, got.name)
		require.NoError(t, got.grant.Release(peertest.Guarded(t)))
	}
	require.Equal(t, 1, g.Asked(), "the other name waits")
	g.Release()
	p.release(p.granted(done, 1))
	for _, n := range p.txns() {
		require.Equal(t, 1, n)
	}
	nothingOut(t, g)
}

// The queue of "a" has that of "a/b" within it: if entries of both had one create revision,
// neither would be in the other's way.
func TestEntriesOfQueuesWithinEachOtherGoOutAlone(t *testing.T) {
	t.Parallel()
	p := newTogether(t)
	nested := func(name string) *queue.Queue {
		q := exclusive(p.Peer, name)
		q.Lanes, q.Nests = []queue.Lane{queue.Exclusive(name + "/")}, true
		return q
	}
	a, b := p.prefix+"a", p.prefix+"a/b"
	peertest.Put(t, p.Client, a+"/1", "somebody else's")
	g := queue.GatherEnqueues(p.Session)
	inner, err := nested(b).Acquire(peertest.Guarded(t))
	require.NoError(t, err, "it is not gathered")
	done := make(chan acquired, 1)
	go func() {
		grant, err := nested(a).Acquire(peertest.Guarded(t))
		done <- acquired{a, grant, err}
	}()
	require.Equal(t, inner.Revision(), peertest.Await(t, p.Waiting, "a waits").Followed)
	g.Release()
	p.release([]*queue.Grant{inner})
	require.Empty(t, done, "a waits for the other")
	peertest.Remove(t, p.Client, a+"/1")
	p.release(p.granted(done, 1))
}

// Somebody else has written to a key that is ours: one condition of many does not hold.
func TestOneThatIsRefusedLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	p := newTogether(t)
	const many = 8
	taken := fmt.Sprintf("%s%x", queue.Prefix(p.name(3), "mutex"), int64(p.LeaseID(t)))
	peertest.Put(t, p.Client, taken, "somebody else's", clientv3.WithLease(p.LeaseID(t)))
	g := queue.GatherEnqueues(p.Session)
	done := p.ask(peertest.Guarded(t), g, p.names(many)...)
	p.Rec.Reset()
	g.Release()
	for range many - 1 {
		got := peertest.Await(t, done, "Acquire returns")
		require.NoError(t, got.err)
		require.NotEqual(t, p.name(3), got.name, "the other one is older")
		require.NoError(t, got.grant.Release(peertest.Guarded(t)))
	}
	peertest.Remove(t, p.Client, taken)
	p.release(p.granted(done, 1))
	require.Equal(t, many, p.txns()[0], "they went out together first")
	require.Empty(t, p.left())
	nothingOut(t, g)
}

func TestWhatTheServerRefusesIsTakenApart(t *testing.T) {
	t.Parallel()
	p := newTogether(t)
	const many = 8
	denied := p.name(5)
	p.Rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		txn, _ := req.(*pb.TxnRequest)
		for _, op := range txn.GetSuccess() {
			if put := op.GetRequestPut(); put != nil && len(put.Key) > len(denied) && string(put.Key[:len(denied)]) == denied {
				return rpctypes.ErrGRPCPermissionDenied
			}
		}
		return invoke()
	})
	g := queue.GatherEnqueues(p.Session)
	done := p.ask(peertest.Guarded(t), g, p.names(many)...)
	g.Release()
	for range many {
		got := peertest.Await(t, done, "Acquire returns")
		if got.name == denied {
			require.ErrorIs(t, got.err, rpctypes.ErrPermissionDenied)
			continue
		}
		require.NoError(t, got.err, got.name)
		require.NoError(t, got.grant.Release(peertest.Guarded(t)))
	}
	require.Empty(t, p.left())
	nothingOut(t, g)
}

// A server may have been told to take fewer operations.
func TestBatchesAreAsLargeAsTheServerTakes(t *testing.T) {
	t.Parallel()
	p := newTogether(t)
	const many, takes = 16, 8
	p.Rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		if txn, _ := req.(*pb.TxnRequest); len(txn.GetSuccess()) > takes {
			return rpctypes.ErrGRPCTooManyOps
		}
		return invoke()
	})
	for range 4 {
		g := queue.GatherEnqueues(p.Session)
		done := p.ask(peertest.Guarded(t), g, p.names(many)...)
		p.Rec.Reset()
		g.Release()
		all := p.granted(done, many)
		p.release(all)
		nothingOut(t, g)
	}
	sizes := p.txns()
	for _, n := range sizes {
		require.LessOrEqual(t, 2*n, takes)
	}
	require.Contains(t, sizes, takes/2)
}

// Each answer alone is small enough, or it was about another name: who was done with the batch
// learns so alone.
func TestAnErrorOfABatchIsNobodysUntilHeGetsItAlone(t *testing.T) {
	t.Parallel()
	for what, failure := range map[string]error{
		"too large": status.Error(codes.ResourceExhausted, "grpc: received message larger than max (5000000 vs. 4194304)"),
		"unknown":   status.Error(codes.Unknown, "one of them is not as it should be"),
		"no space":  rpctypes.ErrGRPCNoSpace,
	} {
		for _, applied := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, applied %t", what, applied), func(t *testing.T) {
				t.Parallel()
				p := newTogether(t)
				const many = 8
				p.Rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
					if txn, _ := req.(*pb.TxnRequest); writesOf(txn) <= 1 {
						return invoke()
					}
					if applied {
						if err := invoke(); err != nil {
							return err
						}
					}
					return failure
				})
				g := queue.GatherEnqueues(p.Session)
				done := p.ask(peertest.Guarded(t), g, p.names(many)...)
				g.Release()
				all := p.granted(done, many)
				require.Len(t, p.left(), many)
				p.release(all)
				require.Empty(t, p.left())
				nothingOut(t, g)
			})
		}
	}
}

func TestALostAnswerToABatchLosesNoLock(t *testing.T) {
	t.Parallel()
	for what, lose := range map[string]func(p *together) <-chan struct{}{
		"applied":     func(p *together) <-chan struct{} { return p.Rec.DropReplies("Txn", 1) },
		"not applied": func(p *together) <-chan struct{} { return p.Rec.FailCalls("Txn", 1, codes.Unavailable) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p := newTogether(t)
			const many = 8
			g := queue.GatherEnqueues(p.Session)
			done := p.ask(peertest.Guarded(t), g, p.names(many)...)
			lost := lose(p)
			g.Release()
			peertest.Await(t, lost, "the answer is lost")
			all := p.granted(done, many)
			require.Len(t, p.left(), many)

			removals := queue.GatherRemovals(p.Session)
			released := make(chan error, many)
			for _, grant := range all {
				go func() { released <- grant.Release(peertest.Guarded(t)) }()
			}
			peertest.Eventually(t, func() bool { return removals.Asked() == many }, "they are released")
			lost = lose(p)
			removals.Release()
			peertest.Await(t, lost, "the answer is lost")
			for range many {
				require.NoError(t, peertest.Await(t, released, "Release returns"))
			}
			require.Empty(t, p.left())
			nothingOut(t, g, removals)
		})
	}
}

// What was not sent leaves nothing in doubt: the next entry has the same key.
func TestOneThatIsGivenUpBeforeItIsSentLeavesNothing(t *testing.T) {
	t.Parallel()
	p := newTogether(t)
	g := queue.GatherEnqueues(p.Session)
	ctx, cancel := context.WithCancel(peertest.Guarded(t))
	done := p.ask(ctx, g, p.name(0))
	p.Rec.Reset()
	cancel()
	require.ErrorIs(t, peertest.Await(t, done, "Acquire returns").err, context.Canceled)
	require.Zero(t, g.Asked())
	g.Release()
	require.Empty(t, p.txns())
	next, err := exclusive(p.Peer, p.name(0)).Acquire(peertest.Guarded(t))
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%s%x", queue.Prefix(p.name(0), "mutex"), int64(p.LeaseID(t))), next.Key())
	p.release([]*queue.Grant{next})
}

// One of those in a batch is given up while that is on its way: the others go on, and what
// it brings is removed.
func TestOneThatIsGivenUpInABatchLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	p := newTogether(t)
	const many = 8
	g := queue.GatherEnqueues(p.Session)
	ctx, cancel := context.WithCancel(peertest.Guarded(t))
	one := p.ask(ctx, g, p.name(0))
	others := p.ask(peertest.Guarded(t), g, p.names(many)[1:]...)
	arrived, goOn := make(chan struct{}), make(chan struct{})
	unhook := p.Rec.Hook("Txn", func(ctx context.Context, req any, invoke func() error) error {
		if txn, _ := req.(*pb.TxnRequest); writesOf(txn) == many {
			close(arrived)
			<-goOn
		}
		return invoke()
	})
	g.Release()
	peertest.Await(t, arrived, "the batch is on its way")
	cancel()
	require.ErrorIs(t, peertest.Await(t, one, "Acquire returns").err, context.Canceled)
	close(goOn)
	all := p.granted(others, many-1)
	unhook()
	p.release(all)
	peertest.Eventually(t, func() bool { return len(p.left()) == 0 }, "what the batch has brought is removed")
	nothingOut(t, g)
}

// It takes place after the removal of what was given up, and after the look that goes with it.
func TestWhatABatchBringsAfterItsRemovalIsLookedFor(t *testing.T) {
	t.Parallel()
	const many, late = 4, 1500 * time.Millisecond
	slow := grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if txn, ok := req.(*pb.TxnRequest); ok && writesOf(txn) == many {
			vtime.Sleep(late)
		}
		return handle(ctx, req)
	})
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		session, err := lease.NewSession(t.Context(), client, lease.WithTTL(10*time.Second))
		require.NoError(t, err)
		p := &peertest.Peer{Session: session}
		g := queue.GatherEnqueues(session)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, many)
		for i := range many {
			within := t.Context()
			if i == 0 {
				within = ctx
			}
			go func() {
				_, err := exclusive(p, fmt.Sprint(i)).Acquire(within)
				done <- err
			}()
		}
		vtime.Advance(10 * time.Millisecond)
		g.Release()
		vtime.Advance(10 * time.Millisecond)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		for range many - 1 {
			require.NoError(t, <-done)
		}
		vtime.Advance(1400 * time.Millisecond) // the next round of the lease is not due yet
		resp, err := client.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithCountOnly())
		require.NoError(t, err)
		require.EqualValues(t, many-1, resp.Count)
		require.NoError(t, session.Close(t.Context()))
	}, vtime.WithServerOptions(slow))
}

// The batch is refused after one of its parts was given up: that one does not go out alone.
func TestOneThatHasLeftARefusedBatchIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	p := newTogether(t)
	const many = 4
	g := queue.GatherEnqueues(p.Session)
	ctx, cancel := context.WithCancel(peertest.Guarded(t))
	one := p.ask(ctx, g, p.name(0))
	others := p.ask(peertest.Guarded(t), g, p.names(many)[1:]...)
	arrived, goOn := make(chan struct{}), make(chan struct{})
	p.Rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		if txn, _ := req.(*pb.TxnRequest); writesOf(txn) == many {
			close(arrived)
			<-goOn
			return rpctypes.ErrGRPCPermissionDenied
		}
		return invoke()
	})
	g.Release()
	peertest.Await(t, arrived, "the batch is on its way")
	cancel()
	require.ErrorIs(t, peertest.Await(t, one, "Acquire returns").err, context.Canceled)
	close(goOn)
	p.release(p.granted(others, many-1))
	nothingOut(t, g)
	require.Empty(t, p.left())
}

// Nobody waits any more for a batch: it is given up, and those who come next are not behind it.
func TestABatchThatAllHaveGivenUpIsGivenUp(t *testing.T) {
	t.Parallel()
	p := newTogether(t)
	const many = 4
	g := queue.GatherEnqueues(p.Session)
	ctx, cancel := context.WithCancel(peertest.Guarded(t))
	done := p.ask(ctx, g, p.names(many)...)
	arrived := make(chan struct{})
	unhook := p.Rec.Hook("Txn", func(ctx context.Context, req any, invoke func() error) error {
		if txn, _ := req.(*pb.TxnRequest); writesOf(txn) == many {
			close(arrived)
			<-ctx.Done() // no member answers
			return status.FromContextError(ctx.Err()).Err()
		}
		return invoke()
	})
	defer unhook()
	g.Release()
	peertest.Await(t, arrived, "the batch is on its way")
	cancel()
	for range many {
		require.ErrorIs(t, peertest.Await(t, done, "Acquire returns").err, context.Canceled)
	}
	peertest.Eventually(t, func() bool { return g.Out() == 0 }, "the batch is given up")
}

// A member does not answer a batch: each of its parts goes out again, alone, in time.
func TestABatchThatIsNotAnsweredKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		rec := &etcdtest.Recorder{}
		client := s.Client(vtime.WithDialOptions(rec.DialOptions()...))
		session, err := lease.NewSession(t.Context(), client, lease.WithTTL(time.Minute))
		require.NoError(t, err)
		p := &together{&peertest.Peer{Client: client, Session: session, Rec: rec}, t, "m"}
		const many = 4
		g := queue.GatherEnqueues(p.Session)
		done := p.ask(peertest.Guarded(t), g, p.names(many)...)
		batches := 0
		p.Rec.Hook("Txn", func(ctx context.Context, req any, invoke func() error) error {
			if txn, _ := req.(*pb.TxnRequest); writesOf(txn) == many {
				batches++
				<-ctx.Done()
				return status.FromContextError(ctx.Err()).Err()
			}
			return invoke()
		})
		g.Release()
		p.release(p.granted(done, many))
		nothingOut(t, g)
		require.NotZero(t, batches)
		require.Empty(t, p.left())
		require.NoError(t, session.Close(t.Context()))
	})
}

// Two requests are out whose member takes its time: what is asked for meanwhile has nothing to
// do with them.
func TestSlowRequestsKeepOthersOnlyAMoment(t *testing.T) {
	t.Parallel()
	var slow atomic.Int64
	slow.Store(2)
	late := grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if txn, ok := req.(*pb.TxnRequest); ok && writesOf(txn) > 0 && slow.Add(-1) >= 0 {
			vtime.Sleep(time.Second)
		}
		return handle(ctx, req)
	})
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		session, err := lease.NewSession(t.Context(), s.Client(), lease.WithTTL(time.Minute))
		require.NoError(t, err)
		p := &peertest.Peer{Session: session}
		began := time.Now()
		took := make(chan time.Duration, 2)
		for _, name := range []string{"a", "b"} {
			go func() {
				_, err := exclusive(p, name).Acquire(t.Context())
				if err != nil {
					t.Error(err)
				}
				took <- time.Since(began)
			}()
		}
		vtime.Advance(10 * time.Millisecond)
		asked := time.Now()
		_, err = exclusive(p, "c").Acquire(t.Context())
		require.NoError(t, err)
		require.Equal(t, queue.MostWait, time.Since(asked))

		ctx, giveUp := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() {
			_, err := exclusive(p, "d").Acquire(ctx)
			first <- err
		}()
		vtime.Advance(queue.MostWait / 2)
		time.AfterFunc(queue.MostWait/4, giveUp)
		asked = time.Now()
		_, err = exclusive(p, "e").Acquire(t.Context())
		require.NoError(t, err)
		require.Equal(t, queue.MostWait, time.Since(asked), "although the first of those that are gathered has left")
		require.ErrorIs(t, <-first, context.Canceled)
		require.Equal(t, []time.Duration{time.Second, time.Second}, []time.Duration{<-took, <-took})
		require.NoError(t, session.Close(t.Context()))
	}, vtime.WithServerOptions(late))
}

// Where the network is slow, and not the server, to gather spares nobody anything.
func TestLocksOnASlowLinkTakeOneRoundTrip(t *testing.T) {
	t.Parallel()
	const many, little = 16, 5 * time.Millisecond
	for _, trip := range []time.Duration{30 * time.Millisecond, 80 * time.Millisecond} {
		t.Run(trip.String(), func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				session, err := lease.NewSession(t.Context(), s.SlowClient(trip/2, trip/2), lease.WithTTL(time.Minute))
				require.NoError(t, err)
				p := &peertest.Peer{Session: session}
				grants := make([]*queue.Grant, many)
				for range 3 {
					require.LessOrEqual(t, slowest(t, many, func(i int) (err error) {
						grants[i], err = exclusive(p, fmt.Sprint(i)).Acquire(t.Context())
						return err
					}), trip+little)
					require.LessOrEqual(t, slowest(t, many, func(i int) error {
						return grants[i].Release(t.Context())
					}), trip+little)
				}
				require.NoError(t, session.Close(t.Context()))
			})
		})
	}
}

// slowest makes n calls at once and returns how long it takes until all have succeeded.
func slowest(t *testing.T, n int, call func(i int) error) time.Duration {
	t.Helper()
	began := time.Now()
	done := make(chan error, n)
	for i := range n {
		go func() { done <- call(i) }()
	}
	for range n {
		require.NoError(t, <-done)
	}
	return time.Since(began)
}

// alone is a session in virtual time whose enqueues are gathered.
func alone(t *testing.T, s *vtime.Server) (p *peertest.Peer, g queue.Gathered) {
	t.Helper()
	session, err := lease.NewSession(t.Context(), s.Client(), lease.WithTTL(time.Minute))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, session.Close(context.Background())) })
	return &peertest.Peer{Session: session}, queue.GatherEnqueues(session)
}

// The first of a crowd for one name is gathered. Once the second comes, which goes out at once,
// it does not wait for others.
func TestTheFirstOfACrowdIsNotKeptForABatch(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p, g := alone(t, s)
		began := time.Now()
		done := make(chan time.Duration, 2)
		for range 2 {
			go func() {
				grant, err := exclusive(p, "a").Acquire(t.Context())
				if err == nil {
					err = grant.Release(t.Context())
				}
				if err != nil {
					t.Error(err)
				}
				done <- time.Since(began)
			}()
		}
		require.Equal(t, []time.Duration{0, 0}, []time.Duration{<-done, <-done})
		g.Release()
	})
}

func TestNothingIsGatheredForAServerThatTakesNoTwo(t *testing.T) {
	t.Parallel()
	const many = 8
	small := grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if txn, ok := req.(*pb.TxnRequest); ok && len(txn.Success) > 2 {
			return nil, rpctypes.ErrGRPCTooManyOps
		}
		return handle(ctx, req)
	})
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p, g := alone(t, s)
		done := make(chan error, many)
		for n := many; n > 1; n /= 2 { // it is learnt
			for i := range n {
				go func() {
					_, err := exclusive(p, fmt.Sprint(n, i)).Acquire(t.Context())
					done <- err
				}()
			}
			vtime.Advance(time.Millisecond)
			g.Release()
			for range n {
				require.NoError(t, <-done)
			}
			g = queue.GatherEnqueues(p.Session)
		}
		began := time.Now()
		for i := range many {
			_, err := exclusive(p, fmt.Sprint("after", i)).Acquire(t.Context())
			require.NoError(t, err)
		}
		require.Zero(t, time.Since(began), "they go out although others are out")
		g.Release()
	}, vtime.WithServerOptions(small))
}
