package concurrency_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// hindered is a client of which a test answers, or delays, one transaction.
type hindered struct {
	*clientv3.Client
	next atomic.Pointer[hindrance]
}

type hindrance struct {
	of            func(r *pb.TxnRequest) bool
	before, after func(ctx context.Context) error
}

func newHindered(t *testing.T, c *etcdtest.Cluster) *hindered {
	t.Helper()
	h := &hindered{}
	h.Client = c.Client(t, etcdtest.WithDialOptions(grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			txn, _ := req.(*pb.TxnRequest)
			if next := h.next.Load(); txn != nil && next != nil && next.of(txn) && h.next.CompareAndSwap(next, nil) {
				if err := next.before(ctx); err != nil {
					return err
				}
				if err := invoke(ctx, method, req, reply, conn, opts...); err != nil {
					return err
				}
				return next.after(ctx)
			}
			return invoke(ctx, method, req, reply, conn, opts...)
		})))
	return h
}

// hinder calls before instead of the next transaction that is one of those given, or, if that
// returns nil, before it.
func (h *hindered) hinder(of func(r *pb.TxnRequest) bool, before func(ctx context.Context) error) {
	h.next.Store(&hindrance{of, before, nothing})
}

// hinderAnswer calls after before the answer to the next transaction that is one of those
// given, or, if that does not return nil, instead of it.
func (h *hindered) hinderAnswer(of func(r *pb.TxnRequest) bool, after func(ctx context.Context) error) {
	h.next.Store(&hindrance{of, nothing, after})
}

func nothing(context.Context) error { return nil }

// until waits for ch as a request that takes long does.
func until(ctx context.Context, ch <-chan struct{}) error {
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

func anyTxn(*pb.TxnRequest) bool { return true }

func deletes(r *pb.TxnRequest) bool {
	return slices.ContainsFunc(r.Success, func(op *pb.RequestOp) bool { return op.GetRequestDeleteRange() != nil })
}

// A leader whose key its own call deletes would soon be one of two.
func TestAProclamationThatFailsRemovesNothing(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, answer := range map[string]func(ctx context.Context, cancel func()) error{
		"its context ends": func(ctx context.Context, cancel func()) error {
			cancel()
			<-ctx.Done()
			return status.FromContextError(ctx.Err()).Err()
		},
		"it is refused": func(context.Context, func()) error {
			return status.Error(codes.PermissionDenied, "etcdserver: permission denied")
		},
	} {
		name, before := c.Prefix(t)+what, newMember(t, c)
		e := concurrency.NewElection(before.Session, name)
		require.NoError(t, e.Campaign(guarded(t), "a"), what)
		before.Orphan()
		client := newHindered(t, c)
		after := newSession(t, client.Client, concurrency.WithLease(before.Lease()))
		resumed := concurrency.ResumeElection(after, name, e.Key(), e.Rev())
		ctx, cancel := context.WithCancel(guarded(t))
		client.hinder(anyTxn, func(ctx context.Context) error { return answer(ctx, cancel) })
		require.Error(t, resumed.Proclaim(ctx, "b"), what)
		cancel()
		require.NoError(t, resumed.Proclaim(guarded(t), "c"), what)
		require.Equal(t, "c", string(get(t, c.Client(t), e.Key()).Value), what)
		require.Equal(t, e.Rev(), get(t, c.Client(t), e.Key()).CreateRevision, what)
		require.Equal(t, resumed.Header().Revision, get(t, c.Client(t), e.Key()).ModRevision, what)
	}
}

func TestACandidateThatWaitsIsResumedWithoutWaiting(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, leader, m := c.Prefix(t)+"e", newMember(t, c), newMember(t, c)
	leads := concurrency.NewElection(leader.Session, name)
	require.NoError(t, leads.Campaign(guarded(t), "a"))
	key := fmt.Sprintf("%s/%x", name, int64(m.Lease()))
	rev := put(t, c.Client(t), key, "b", clientv3.WithLease(m.Lease()))
	waits := concurrency.ResumeElection(m.Session, name, key, rev)
	require.NoError(t, waits.Proclaim(guarded(t), "c"))
	require.Equal(t, "c", string(get(t, c.Client(t), key).Value))
	require.NoError(t, waits.Resign(guarded(t)))
	require.Nil(t, get(t, c.Client(t), key))
	require.Equal(t, concurrency.ErrElectionNotLeader, waits.Proclaim(guarded(t), "d"))
	require.NoError(t, leads.Proclaim(guarded(t), "it still leads"))
}

func TestAResignationOfAResumedElectionThatFailsIsRepeated(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, before := c.Prefix(t)+"e", newMember(t, c)
	e := concurrency.NewElection(before.Session, name)
	require.NoError(t, e.Campaign(guarded(t), "a"))
	before.Orphan()
	client := newHindered(t, c)
	resumed := concurrency.ResumeElection(newSession(t, client.Client, concurrency.WithLease(before.Lease())), name, e.Key(), e.Rev())
	client.hinder(anyTxn, func(context.Context) error {
		return status.Error(codes.PermissionDenied, "etcdserver: permission denied")
	})
	require.Error(t, resumed.Resign(guarded(t)))
	require.NoError(t, resumed.Resign(guarded(t)))
	require.Nil(t, get(t, c.Client(t), e.Key()))
}

func TestAResumedElectionOfAnotherLeaseIsNotTaken(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, leader, m := c.Prefix(t)+"e", newMember(t, c), newMember(t, c)
	e := concurrency.NewElection(leader.Session, name)
	require.NoError(t, e.Campaign(guarded(t), "a"))
	require.Equal(t, concurrency.ErrElectionNotLeader, concurrency.ResumeElection(m.Session, name, e.Key(), e.Rev()).Proclaim(guarded(t), "b"))
	require.NoError(t, m.Close())
	require.Equal(t, concurrency.ErrSessionExpired, concurrency.ResumeElection(m.Session, name, e.Key(), e.Rev()).Proclaim(guarded(t), "b"))
	require.Equal(t, "a", string(get(t, c.Client(t), e.Key()).Value))
}
