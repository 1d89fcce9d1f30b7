package lock_test

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lock"
)

func TestTxnTakesEffectWhileTheLockIsHeld(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, k := newPeer(t, c), c.Prefix(t)+"k"
	h := p.lock(t, c.Prefix(t)+"m")

	resp, err := h.Txn(guarded(t)).Then(clientv3.OpPut(k, "1"), clientv3.OpGet(k)).Commit()
	require.NoError(t, err)
	require.True(t, resp.Succeeded)
	require.Len(t, resp.Responses, 2)
	require.Equal(t, "1", string(resp.Responses[1].GetResponseRange().Kvs[0].Value))
	require.Equal(t, get(t, p.Client, k).ModRevision, resp.Header.Revision)

	is := func(v string) clientv3.Cmp { return clientv3.Compare(clientv3.Value(k), "=", v) }
	resp, err = h.Txn(guarded(t)).If(is("1")).Then(clientv3.OpPut(k, "2")).Else(clientv3.OpPut(k, "else")).Commit()
	require.NoError(t, err)
	require.True(t, resp.Succeeded)
	require.Equal(t, "2", string(get(t, p.Client, k).Value))

	resp, err = h.Txn(guarded(t)).If(is("1")).Then(clientv3.OpPut(k, "then")).Else(clientv3.OpPut(k, "3")).Commit()
	require.NoError(t, err, "the caller's own condition is not the guard")
	require.False(t, resp.Succeeded)
	require.Equal(t, "3", string(get(t, p.Client, k).Value))

	resp, err = h.Txn(guarded(t)).Commit()
	require.NoError(t, err)
	require.True(t, resp.Succeeded, "of no conditions")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = h.Txn(ctx).Then(clientv3.OpPut(k, "4")).Commit()
	require.ErrorIs(t, err, context.Canceled)
	_, err = h.Txn(guarded(t)).Then(clientv3.OpPut("", "no key")).Commit()
	require.Error(t, err)
	require.NoError(t, h.Err(), "a transaction that fails does not end the hold")
	unlock(t, h)
}

// Without a read through a quorum any member answers from what it has: of a hold that has just
// been granted that it is lost, or of one that is lost that it is held.
func TestTxnThatOnlyReadsIsNotAnsweredByOneMemberAlone(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, k := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"k"
	h := p.lock(t, c.Prefix(t)+"m")
	for what, ops := range map[string][]clientv3.Op{
		"nothing":            nil,
		"as many as may be":  slices.Repeat([]clientv3.Op{clientv3.OpGet(k, clientv3.WithSerializable())}, 128),
		"serializable reads": {clientv3.OpGet(k, clientv3.WithSerializable()), clientv3.OpGet(h.Key(), clientv3.WithSerializable())},
	} {
		p.Rec.Reset()
		resp, err := h.Txn(guarded(t)).Then(ops...).Commit()
		require.NoError(t, err, what)
		require.Len(t, resp.Responses, len(ops), what)
		for _, call := range p.Rec.Calls() {
			if req, ok := call.Request.(*pb.TxnRequest); ok {
				require.False(t, local(req) && local(&pb.TxnRequest{Success: req.Failure}), what)
			}
		}
		require.Equal(t, 1, p.Rec.Count("Txn"), what)
	}
	unlock(t, h)
}

func TestTxnOfALostHoldWritesNothing(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, operator, prefix := newPeer(t, c, withTTL(calm)), c.Client(t), c.Prefix(t)
	for what, interfere := range map[string]func(h *lock.Hold){
		"deleted": func(h *lock.Hold) { remove(t, operator, h.Key()) },
		"in other hands": func(h *lock.Hold) {
			remove(t, operator, h.Key())
			put(t, operator, h.Key(), "somebody else")
		},
	} {
		h := p.lock(t, prefix+what)
		interfere(h)
		k := prefix + "k"
		_, err := h.Txn(guarded(t)).Then(clientv3.OpPut(k, "then")).Else(clientv3.OpPut(k, "else")).Commit()
		require.ErrorIs(t, err, lock.ErrLost)
		require.Nil(t, get(t, operator, k))
		lost(t, h)
		p.Rec.Reset()
		_, err = h.Txn(guarded(t)).Then(clientv3.OpPut(k, "again")).Commit()
		require.ErrorIs(t, err, lock.ErrLost)
		require.Empty(t, p.Rec.Calls(), "refused without a request")
		_, err = operator.Delete(guarded(t), h.Key())
		require.NoError(t, err)
	}
}

func TestGuardIsTrueOnlyWhileTheLockIsHeld(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, operator, name := newPeer(t, c), c.Client(t), c.Prefix(t)+"m"
	holds := func(h *lock.Hold) bool {
		resp, err := operator.Txn(guarded(t)).If(h.Guard()...).Commit()
		require.NoError(t, err)
		return resp.Succeeded
	}
	first := p.lock(t, name)
	require.Len(t, first.Guard(), 1)
	require.True(t, holds(first))
	unlock(t, first)
	require.False(t, holds(first))
	second := p.lock(t, name)
	require.Equal(t, first.Key(), second.Key(), "the key is used again")
	require.False(t, holds(first))
	require.True(t, holds(second))
	unlock(t, second)
}
