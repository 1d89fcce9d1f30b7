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
