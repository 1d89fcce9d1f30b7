package look_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
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
