package look_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestWhatAnotherLeaseHasPutBetweenALookAndItsRemovalStays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	slot := b.Reserve(func(int) string { return b.prefix + "k" })
	slot.Unsettle(0, 1, "v")
	b.put(t, slot.Key(), b.lease) // the put arrives
	other := b.grant(t)

	requests := 0
	b.rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
		requests++
		if requests == 2 { // the removal, after the read
			_, err := b.client.Delete(guarded(t), slot.Key())
			require.NoError(t, err)
			b.put(t, slot.Key(), other)
		}
		return invoke()
	})
	b.look(t)
	require.Equal(t, 2, requests)
	resp, err := b.client.Get(guarded(t), slot.Key())
	require.NoError(t, err)
	require.Len(t, resp.Kvs, 1)
	require.Equal(t, other, clientv3.LeaseID(resp.Kvs[0].Lease))
}

func TestWhatIsPutAnewBetweenALookAndItsRemovalStays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key := b.prefix + "k"
	b.Suspect(key, 1, "v")
	b.put(t, key, b.lease) // the put arrives
	k := b.Begin(b.client, b.lease)
	_, err := k.Step(guarded(t))
	require.NoError(t, err)
	unsettled, _ := b.Reclaim(key)
	require.Equal(t, 1, unsettled)
	b.put(t, key, b.lease)
	require.False(t, k.Done(), "the removal is to come")
	require.NoError(t, k.Next(guarded(t), patience))
	require.True(t, b.exists(t, key))
}

func TestWhatIsPutAnewBeforeALookReadsItStays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key := b.prefix + "k"
	b.Suspect(key, 1, "v")
	k := b.Begin(b.client, b.lease)
	unsettled, _ := b.Reclaim(key)
	require.Equal(t, 1, unsettled)
	b.put(t, key, b.lease)
	for !k.Done() {
		require.NoError(t, k.Next(guarded(t), patience))
	}
	require.True(t, b.exists(t, key))
}

func TestALookOfManyKeysRemovesWhatTurnsUpInDoubt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for i := range 1001 {
		b.observe(fmt.Sprintf("%s%04d", b.prefix, i))
	}
	slot := b.Reserve(func(int) string { return b.prefix + "in doubt" })
	slot.Unsettle(0, 1, "v")
	b.put(t, slot.Key(), b.lease)

	b.look(t)
	require.False(t, b.exists(t, slot.Key()), "it is the lease's own, and still has to be looked at")
	require.Zero(t, b.Doubts())
}

// removed returns the keys that a transaction removes in its nested transactions.
func removed(req any) (keys []string) {
	for _, op := range operations(req) {
		for _, nested := range op.GetRequestTxn().GetSuccess() {
			keys = append(keys, string(nested.GetRequestDeleteRange().GetKey()))
		}
	}
	return keys
}

// turnUp has puts arrive under so many keys in doubt, and returns these.
func (b bench) turnUp(t *testing.T, n int) (keys []string) {
	t.Helper()
	for i := range n {
		key := fmt.Sprintf("%s%d", b.prefix, i)
		b.Suspect(key, 1)
		b.put(t, key, b.lease)
		keys = append(keys, key)
	}
	return keys
}

func TestAnEntryThatMayNotBeRemovedKeepsNoOther(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	keys := b.turnUp(t, 3)
	b.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		if slices.Contains(removed(req), keys[1]) {
			return rpctypes.ErrGRPCPermissionDenied
		}
		return invoke()
	})
	b.look(t)
	for i, key := range keys {
		require.Equal(t, i == 1, b.exists(t, key))
	}
	require.Equal(t, 1, b.Doubts())
}

// removals makes a look in which all removals are refused, and returns how many there were.
func (b bench) removals(t *testing.T, refusal error) (n int) {
	t.Helper()
	b.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		if len(removed(req)) > 0 {
			n++
			return refusal
		}
		return invoke()
	})
	b.look(t)
	return n
}

func TestARemovalThatMaySucceedLaterIsLeftToTheNextLook(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.turnUp(t, 3)
	require.Equal(t, 1, b.removals(t, rpctypes.ErrGRPCRequestTooManyRequests))
}

func TestRemovalsThatAreRefusedAreTriedAFewAtATime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.turnUp(t, 40)
	require.Equal(t, 1+16, b.removals(t, rpctypes.ErrGRPCPermissionDenied))
}

func TestRemovalsKeepToTheServersLimitOfOperations(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const limit = 5
	keys := b.turnUp(t, 10)
	b.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		if ops := len(operations(req)); len(removed(req)) > 0 && 2*ops > limit {
			return rpctypes.ErrGRPCTooManyOps
		}
		return invoke()
	})
	b.look(t)
	for _, key := range keys {
		require.False(t, b.exists(t, key))
	}
}

// Its revision says that it is the entry in doubt.
func TestAnEntryInDoubtThatAnOperatorHasPutAgainIsRemoved(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	slot := b.Reserve(func(int) string { return b.prefix + "k" })
	created := b.put(t, slot.Key(), b.lease)
	slot.Unsettle(created, 0, "v")
	_, err := b.client.Put(guarded(t), slot.Key(), "without a lease")
	require.NoError(t, err)
	b.look(t)
	require.False(t, b.exists(t, slot.Key()))
	require.Zero(t, b.Doubts())
}
