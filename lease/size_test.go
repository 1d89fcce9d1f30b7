package lease_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

const kib = 1 << 10

func TestLargeRegistrationsComeBackAfterALossOfTheLease(t *testing.T) {
	t.Parallel()
	const many = 64
	g := newRegistry(t)
	for i := range many {
		_, err := lease.Register(guarded(t), g.Session, fmt.Sprint(g.key, i), strings.Repeat("v", 36*kib))
		require.NoError(t, err)
	}
	g.lose(t)
	eventually(t, func() bool {
		resp, err := g.op.Get(guarded(t), g.key, clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err == nil && resp.Count == many
	}, "all are back")
}

// The client sends no more than 2 MiB, the server takes no more than 1.5 MiB.
func TestWhatIsTooLargeIsRefusedAtOnceAndAlone(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1800 * kib, 3000 * kib} {
		g := newRegistry(t)
		other, err := lease.Register(guarded(t), g.Session, g.key+"/other", "v")
		require.NoError(t, err)
		large := strings.Repeat("v", size)
		_, err = lease.Register(guarded(t), g.Session, g.key, large)
		require.ErrorContains(t, err, g.key)
		require.ErrorContains(t, err, fmt.Sprint(size))
		require.NoError(t, guarded(t).Err())

		r := g.register(t, "small")
		require.ErrorContains(t, r.Update(guarded(t), large), fmt.Sprint(size))
		require.NoError(t, other.Update(guarded(t), "w"), "nothing else waits")
		g.lose(t)
		eventually(t, func() bool { return r.Err() == nil && other.Err() == nil }, "both are back")
		g.op.requireKey(t, g.key, "small", g.id(t))
		require.NoError(t, r.Update(guarded(t), "small again"))
		g.op.requireKey(t, g.key, "small again", g.id(t))
	}
}

func TestUpdatesThatOneThatIsTooLargeHasOvertakenFail(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	r := g.register(t, "small")
	begun, verdict := holdFirst(g)
	large := strings.Repeat("v", 1800*kib)
	results := make([]chan error, 0, 3)
	for _, value := range []string{"under way", "overtaken", large} {
		result := make(chan error, 1)
		results = append(results, result)
		go func() { result <- r.Update(guarded(t), value) }()
		eventually(t, func() bool { return lease.Registering(g.Session, g.key) == value }, "it is wanted")
		if value == "under way" {
			await(t, begun, "the put")
		}
	}
	verdict <- nil
	require.NoError(t, await(t, results[0], "the first"))
	require.Error(t, await(t, results[1], "the second"), "it is not in place, and is not wanted any more")
	require.ErrorContains(t, await(t, results[2], "the third"), "1843200")
	require.NoError(t, r.Err())
	g.op.requireKey(t, g.key, "under way", g.id(t))
}

func TestAnUpdateThatIsTooLargeHasNothingElseWritten(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	r := g.register(t, "small")
	events := g.op.watch(t, g.key)
	require.Error(t, r.Update(guarded(t), strings.Repeat("v", 1800*kib)))
	require.NoError(t, r.Err(), "the old value is in place")
	g.round(t)
	g.round(t) // after what the first has had written
	require.NoError(t, r.Close(guarded(t)))
	require.Equal(t, clientv3.EventTypeDelete, await(t, events, "the removal").Type, "the first event")
}

func TestALookOfLongKeysFitsIntoARequest(t *testing.T) {
	t.Parallel()
	const many = 100
	c := etcdtest.New(t)
	p := newPulse()
	s := newSession(t, c.Client(t), lease.WithTTL(calm), p.observe())
	prefix := c.Prefix(t) + strings.Repeat("k", 30*kib)
	for i := range many {
		_, err := lease.Register(guarded(t), s, fmt.Sprint(prefix, i), "v")
		require.NoError(t, err)
	}
	p.round(t, liveLease(t, s))
	require.NoError(t, liveLease(t, s).Err())
}
