package lease_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lease"
)

func TestRegisterReportsWhoHasTheKey(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	theirs, err := g.op.Grant(guarded(t), int64(calm/time.Second))
	require.NoError(t, err)
	for _, id := range []clientv3.LeaseID{clientv3.NoLease, theirs.ID} {
		g.op.put(t, g.key, "theirs", clientv3.WithLease(id))
		_, err = lease.Register(guarded(t), g.Session, g.key, "ours")
		var taken *lease.TakenError
		require.ErrorAs(t, err, &taken)
		require.Equal(t, &lease.TakenError{Key: g.key, Value: "theirs", Lease: id}, taken)
		require.ErrorContains(t, err, g.key)
		require.ErrorContains(t, err, "theirs")
		if id != clientv3.NoLease {
			require.ErrorContains(t, err, fmt.Sprintf("%x", int64(id)))
		}
		g.round(t)
		g.op.requireKey(t, g.key, "theirs", id)
		g.op.remove(t, g.key)
		g.round(t)
		g.op.requireNoKey(t, g.key) // what failed is not kept
	}
	require.NoError(t, g.register(t, "ours").Err(), "free again")
}

func TestARegistrationTakenByAnotherHealsWhenItIsReleased(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	r := g.register(t, "ours")
	events := g.op.watch(t, g.key)
	g.op.put(t, g.key, "theirs")
	awaitPut(t, events)
	g.round(t)
	eventually(t, func() bool { return r.Err() != nil }, "the registration tells")
	var taken *lease.TakenError
	require.ErrorAs(t, r.Err(), &taken)
	require.Equal(t, &lease.TakenError{Key: g.key, Value: "theirs"}, taken)
	require.ErrorAs(t, r.Update(guarded(t), "newer"), &taken, "the value stays wanted")

	g.op.put(t, g.key, "still theirs")
	awaitPut(t, events)
	g.round(t)
	eventually(t, func() bool { return strings.Contains(r.Err().Error(), "still theirs") }, "it keeps up")
	g.op.requireKey(t, g.key, "still theirs", clientv3.NoLease)

	g.op.remove(t, g.key)
	g.round(t)
	e := awaitPut(t, events)
	require.Equal(t, "newer", string(e.Kv.Value))
	require.Equal(t, g.id(t), clientv3.LeaseID(e.Kv.Lease))
	eventually(t, func() bool { return r.Err() == nil }, "in place again")
}

func TestClosingARegistrationLeavesWhatAnotherHasPut(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	r := g.register(t, "ours")
	g.op.put(t, g.key, "theirs")
	require.NoError(t, r.Close(guarded(t)))
	g.op.requireKey(t, g.key, "theirs", clientv3.NoLease)
	g.round(t)
	require.NoError(t, g.Close(guarded(t)))
	g.op.requireKey(t, g.key, "theirs", clientv3.NoLease)
}

func TestATakeoverOverwritesAndTheLoserDoesNotTakeItBack(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	loser := g.register(t, "old")
	p := newPulse()
	s := newSession(t, g.c.Client(t), lease.WithTTL(calm), p.observe())
	winner, err := lease.Register(guarded(t), s, g.key, "new", lease.WithTakeover())
	require.NoError(t, err)
	g.op.requireKey(t, g.key, "new", liveLease(t, s).ID())

	g.round(t)
	eventually(t, func() bool { return loser.Err() != nil }, "the loser tells")
	var taken *lease.TakenError
	require.ErrorAs(t, loser.Err(), &taken)
	require.Equal(t, &lease.TakenError{Key: g.key, Value: "new", Lease: liveLease(t, s).ID()}, taken)
	p.round(t, liveLease(t, s))
	g.op.requireKey(t, g.key, "new", liveLease(t, s).ID())
	require.NoError(t, winner.Err())

	// A takeover is over once it has succeeded: it does not fight.
	g.op.put(t, g.key, "newest")
	p.round(t, liveLease(t, s))
	eventually(t, func() bool { return winner.Err() != nil }, "the winner tells")
	g.op.requireKey(t, g.key, "newest", clientv3.NoLease)
}

func TestATakeoverOfAFreeKeyIsARegistration(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	require.NoError(t, g.register(t, "v", lease.WithTakeover()).Err())
	g.op.requireKey(t, g.key, "v", g.id(t))
}
