package look_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestAKeyThatMayNotBeReadDoesNotHideTheOthers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, one := b.observe(b.prefix + "1")
	_, two := b.observe(b.prefix + "2")
	b.Suspect(b.prefix+"3", 1)
	b.put(t, b.prefix+"3", b.lease)
	b.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		for _, op := range operations(req) {
			if string(op.GetRequestRange().GetKey()) == b.prefix+"1" {
				return rpctypes.ErrGRPCPermissionDenied
			}
		}
		return invoke()
	})
	require.Positive(t, b.look(t))
	require.Empty(t, *one)
	require.Len(t, *two, 1)
	require.Zero(t, b.Doubts())
}

// refusing has the server refuse, with an error, all that reads or compares a key.
func (b bench) refusing(key string, refusal error) {
	b.refusingAll(func(k string) bool { return k == key }, refusal)
}

// refusingAll is refusing for many keys, until the function that it returns is called.
func (b bench) refusingAll(refused func(key string) bool, refusal error) (allow func()) {
	return b.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		if slices.ContainsFunc(named(req), refused) {
			return refusal
		}
		return invoke()
	})
}

// named returns the keys that a transaction reads or compares.
func named(req any) (keys []string) {
	txn, _ := req.(*pb.TxnRequest)
	for _, c := range txn.GetCompare() {
		keys = append(keys, string(c.Key))
	}
	for _, op := range txn.GetSuccess() {
		keys = append(keys, string(op.GetRequestRange().GetKey()))
	}
	return keys
}

// The confirmation of a renewal does not wait for a read of each key.
func TestAKeyThatMayNotBeReadIsReadAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const many = 200
	for i := range many {
		b.observe(fmt.Sprintf("%s%04d", b.prefix, i))
	}
	key := fmt.Sprintf("%s%04d", b.prefix, many/2)
	b.refusing(key, rpctypes.ErrGRPCPermissionDenied)
	k := b.Begin(b.client, b.lease)
	term, err := k.Step(guarded(t))
	require.NoError(t, err)
	require.Positive(t, term)
	require.LessOrEqual(t, b.rec.Count("Txn"), 2, "a renewal is confirmed by a read that can be answered")
	for !k.Done() {
		require.NoError(t, k.Next(guarded(t), patience))
	}
	require.Less(t, b.rec.Count("Txn"), 40, "the key is found by halving")
	for range 2 {
		b.rec.Reset()
		require.Positive(t, b.look(t))
		calls := b.rec.Calls()
		require.Len(t, calls, 3, "two for the others, one for the key")
		require.Equal(t, []string{key}, named(calls[1].Request))
	}
}

// A look gets on although a client takes no answer that has a large value.
func TestAKeyThatIsTooLargeToBeReadDoesNotHideTheOthers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	keys, _, gone := b.entries(t, 5)
	_, err := b.client.Delete(guarded(t), keys[3])
	require.NoError(t, err)
	large := b.prefix + "large"
	b.Suspect(large, 1)
	b.refusing(large, status.Error(codes.ResourceExhausted, "grpc: received message larger than max (2000 vs. 1000)"))
	require.Positive(t, b.look(t))
	require.Equal(t, map[int]int{3: 1}, gone)
	b.rec.Reset()
	b.look(t)
	require.Equal(t, 3, b.rec.Count("Txn"), "one for what has gone, one for the others, one for the key")
}

func TestManyKeysThatMayNotBeReadAreTriedAFewAtATime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const many, few = 40, 16
	var denied, allowed []*[]sighting
	for i := range many {
		_, seen := b.observe(fmt.Sprintf("%sdenied%d", b.prefix, i))
		denied = append(denied, seen)
		_, seen = b.observe(fmt.Sprintf("%sallowed%d", b.prefix, i))
		allowed = append(allowed, seen)
	}
	isDenied := func(key string) bool { return strings.HasPrefix(key, b.prefix+"denied") }
	allow := b.refusingAll(isDenied, rpctypes.ErrGRPCPermissionDenied)
	b.look(t)
	for _, seen := range allowed {
		require.Len(t, *seen, 1)
	}
	b.rec.Reset()
	for range 3 {
		b.look(t)
	}
	tried := make(map[string]int)
	for _, call := range b.rec.Calls() {
		if keys := named(call.Request); isDenied(keys[0]) && len(keys) == 1 {
			tried[keys[0]]++
		}
	}
	require.Len(t, tried, many, "each gets its turn")
	require.LessOrEqual(t, len(b.rec.Calls()), 3*(1+few)+8, "and the first are of several, which are halved")
	for _, seen := range allowed {
		require.Len(t, *seen, 4)
	}

	allow()
	b.rec.Reset()
	b.look(t)
	require.Less(t, b.rec.Count("Txn"), 8, "those that can be read again are read together")
	for _, seen := range denied {
		require.Len(t, *seen, 1)
	}
}

// hasty makes a look as on a link so slow that there is only time for what is urgent.
func (b bench) hasty(t *testing.T) {
	t.Helper()
	k := b.Begin(b.client, b.lease)
	_, err := k.Step(guarded(t))
	require.NoError(t, err)
	for k.Urgent() {
		require.NoError(t, k.Next(guarded(t), patience))
	}
}

func TestOnASlowLinkAKeyThatMayNotBeReadDoesNotHideTheOthers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const many = 500 // the steps of a look are four
	var all []*[]sighting
	for i := range many {
		_, seen := b.observe(fmt.Sprintf("%s%04d", b.prefix, i))
		all = append(all, seen)
	}
	b.refusing(fmt.Sprintf("%s%04d", b.prefix, many/2), rpctypes.ErrGRPCPermissionDenied)
	for range 60 { // which read one, two, four and so on, and halve what is refused
		b.rec.Reset()
		b.hasty(t)
		require.LessOrEqual(t, b.rec.Count("Txn"), 3)
	}
	for i, seen := range all {
		require.Equal(t, i != many/2, len(*seen) > 0)
	}
}

// It takes one request and not two, of which the second would be needed.
func TestARenewalOfALeaseWhoseKeysMayNotBeReadIsConfirmedByAProbe(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.observe(b.prefix + "k")
	b.refusing(b.prefix+"k", rpctypes.ErrGRPCPermissionDenied)
	b.look(t)
	b.rec.Reset()
	_, err := b.Begin(b.client, b.lease).Step(guarded(t))
	require.NoError(t, err)
	require.Equal(t, map[string]int{"Txn": 1}, b.rec.Counts())
}

// On etcd 3.4 the list of members, the last resort, may be of any age.
func TestARefusedStepIsFollowedByAReadOfAKeyThatCanBeRead(t *testing.T) {
	t.Parallel()
	for readable, probes := range map[string][]string{"1": {"1"}, "conclave": {"1", "conclave"}} {
		t.Run(readable, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			item, _ := b.observe(b.prefix + "1")
			b.look(t)
			item.Remove()
			b.observe(b.prefix + "2")
			short := func(key string) string { return strings.TrimPrefix(key, b.prefix) }
			b.refusingAll(func(key string) bool { return short(key) != readable }, rpctypes.ErrGRPCPermissionDenied)
			b.rec.Reset()
			require.Positive(t, b.look(t))
			var probed []string
			for _, call := range b.rec.Calls()[1:] {
				probed = append(probed, short(named(call.Request)[0]))
			}
			require.Equal(t, probes, probed)
		})
	}
}

func TestLooksThatOverlapLearnTheServersLimitOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const limit, many, looks = 64, 200, 4
	for i := range many {
		b.observe(fmt.Sprintf("%s%04d", b.prefix, i))
	}
	var all sync.WaitGroup
	all.Add(looks)
	b.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		if len(operations(req)) <= limit {
			return invoke()
		}
		all.Done()
		all.Wait()
		return rpctypes.ErrGRPCTooManyOps
	})
	var done sync.WaitGroup
	for range looks {
		k := b.Begin(b.client, b.lease)
		done.Go(func() { _, _ = k.Step(t.Context()) })
	}
	done.Wait()
	b.rec.Reset()
	b.look(t)
	require.Equal(t, (many+limit-1)/limit, b.rec.Count("Txn"))
}
