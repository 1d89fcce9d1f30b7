package look_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/conclave-go/conclave/internal/look"
)

// entries are put under the lease, and expected. gone is which of them were told to be gone,
// and how often.
func (b bench) entries(t *testing.T, n int) (keys []string, items []*look.Item, gone map[int]int) {
	t.Helper()
	gone = make(map[int]int)
	for i := range n {
		key := fmt.Sprintf("%s%04d", b.prefix, i)
		keys = append(keys, key)
		items = append(items, b.Expect(key, b.put(t, key, b.lease), func() { gone[i]++ }, nil))
	}
	b.rec.Reset()
	return keys, items, gone
}

func TestEntriesThatAreThereCostOneComparisonEach(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	keys, _, gone := b.entries(t, 300)
	b.put(t, keys[5], b.lease) // another value, the same entry
	var bytes int
	b.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		txn, ok := req.(*pb.TxnRequest)
		require.True(t, ok)
		bytes += proto.Size(txn)
		for _, branch := range [][]*pb.RequestOp{txn.Success, txn.Failure} {
			require.Len(t, branch, 1)
			require.NotNil(t, branch[0].GetRequestRange())
			require.False(t, branch[0].GetRequestRange().Serializable, "else the answer may be of any age")
		}
		return invoke()
	})
	b.rec.Reset()
	b.look(t)
	require.Equal(t, map[string]int{"Txn": 3}, b.rec.Counts())
	require.Zero(t, b.rec.Writes())
	require.Empty(t, gone)
	require.Less(t, bytes/len(keys), len(keys[0])+16)
}

func TestAnEntryThatIsGoneOrReplacedIsFoundAmongTheOthers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	keys, items, gone := b.entries(t, 200)
	_, err := b.client.Delete(guarded(t), keys[7])
	require.NoError(t, err)
	_, err = b.client.Delete(guarded(t), keys[8])
	require.NoError(t, err)
	b.put(t, keys[8], b.lease) // by somebody else
	b.rec.Reset()
	b.look(t)
	require.Equal(t, map[int]int{7: 1, 8: 1}, gone)
	require.LessOrEqual(t, b.rec.Count("Txn"), 4, "two comparisons, of which one or both have failed")

	items[7].Remove()
	items[8].Remove()
	b.rec.Reset()
	b.look(t)
	require.Equal(t, 2, b.rec.Count("Txn"))
	require.Equal(t, map[int]int{7: 1, 8: 1}, gone)
}

// They are read: somebody else wants to know how the key stands, or another entry of it is
// in doubt, or there are too few to be worth a comparison.
func TestWhatOthersWantToKnowOfAnEntryIsRead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	keys, _, gone := b.entries(t, 4)
	_, seen := b.observe(keys[0])
	other := 0
	b.Expect(keys[1], 1, func() { other++ }, nil)
	b.look(t)
	require.Len(t, *seen, 1)
	require.Equal(t, 1, other)
	require.Empty(t, gone)
	require.Equal(t, map[string]int{"Txn": 1}, b.rec.Counts(), "the other two are read with them")
}

func TestOtherKeysAreReadWithTheComparison(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	keys, _, gone := b.entries(t, 128)
	var all []*[]sighting
	for i := range 128 {
		_, seen := b.observe(fmt.Sprintf("%sother%d", b.prefix, i))
		all = append(all, seen)
	}
	b.look(t)
	require.Equal(t, map[string]int{"Txn": 1}, b.rec.Counts())
	for _, seen := range all {
		require.Len(t, *seen, 1)
	}
	_, err := b.client.Delete(guarded(t), keys[3])
	require.NoError(t, err)
	b.look(t)
	require.Equal(t, map[int]int{3: 1}, gone)
	for _, seen := range all {
		require.Len(t, *seen, 2, "also if it fails")
	}
}

// A look may have time for one step only.
func TestWhatAComparisonHasMissedTheNextLookReadsFirst(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	keys, items, gone := b.entries(t, 6)
	_, err := b.client.Delete(guarded(t), keys[3])
	require.NoError(t, err)
	step := func() {
		t.Helper()
		_, err := b.Begin(b.client, b.lease).Step(guarded(t))
		require.NoError(t, err)
	}
	step()
	require.Empty(t, gone)
	step()
	require.Equal(t, map[int]int{3: 1}, gone)
	items[3].Remove()
	compared := 0
	b.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		txn, ok := req.(*pb.TxnRequest)
		require.True(t, ok)
		compared = len(txn.Compare)
		return invoke()
	})
	step()
	require.Equal(t, 5, compared, "those that are there are compared again")
}

// Comparisons fail while holds end: each of these looks has time for one step, and one more
// hold has ended when it is made.
func TestWhatAComparisonHasMissedIsReadAlthoughAnotherWouldFail(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	keys, _, gone := b.entries(t, 10)
	for i := range 3 {
		_, err := b.client.Delete(guarded(t), keys[i])
		require.NoError(t, err)
		another := fmt.Sprint(b.prefix, "another", i)
		b.Expect(another, b.put(t, another, b.lease), func() {}, nil)
		k := b.Begin(b.client, b.lease)
		_, err = b.client.Delete(guarded(t), another)
		require.NoError(t, err)
		_, err = k.Step(guarded(t))
		require.NoError(t, err)
	}
	require.Contains(t, gone, 0)
}

func TestAComparisonThatMayNotBeMadeIsARead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	keys, _, gone := b.entries(t, 5)
	b.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		txn, ok := req.(*pb.TxnRequest)
		require.True(t, ok)
		names := make(map[string]bool)
		for _, c := range txn.Compare {
			names[string(c.Key)] = true
		}
		for _, op := range txn.Success {
			names[string(op.GetRequestRange().GetKey())] = true
		}
		if names[keys[2]] {
			return rpctypes.ErrGRPCPermissionDenied
		}
		return invoke()
	})
	_, err := b.client.Delete(guarded(t), keys[3])
	require.NoError(t, err)
	require.Positive(t, b.look(t), "the term of a read through a quorum")
	require.Equal(t, map[int]int{3: 1}, gone)
}

func TestAComparisonThatFailsIsRepeated(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	keys, _, gone := b.entries(t, 5)
	_, err := b.client.Delete(guarded(t), keys[3])
	require.NoError(t, err)
	b.rec.FailCalls("Txn", 1, codes.FailedPrecondition)
	k := b.Begin(b.client, b.lease)
	_, err = k.Step(guarded(t))
	require.Error(t, err)
	require.False(t, k.Done())
	for !k.Done() {
		_, err = k.Step(guarded(t))
		require.NoError(t, err)
	}
	require.Equal(t, map[int]int{3: 1}, gone)
}

func TestComparisonsKeepToTheServersLimitOfOperations(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const limit, many = 50, 200
	_, _, gone := b.entries(t, many)
	b.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		if txn, ok := req.(*pb.TxnRequest); ok && len(txn.Compare) > limit {
			return rpctypes.ErrGRPCTooManyOps
		}
		return invoke()
	})
	b.learn(t)
	b.rec.Reset()
	b.look(t)
	require.Equal(t, (many+31)/32, b.rec.Count("Txn"), "it is remembered")
	require.Empty(t, gone)
}

// A store that was restored from before does not speak of the entry.
func TestAnEntryIsNotGoneAtARevisionBeforeIt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for i := range 4 {
		b.Expect(fmt.Sprintf("%s%d", b.prefix, i), 1<<40, func() { t.Error("told to be gone") }, nil)
	}
	b.look(t)
}
