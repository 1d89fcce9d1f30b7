package look_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/look"
)

// guard is how long a test waits for what must happen; only a failure takes that long.
const guard = 30 * time.Second

func guarded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	t.Cleanup(cancel)
	return ctx
}

// bench is a list with a lease that lives as long as the test.
type bench struct {
	*look.List

	rec    *etcdtest.Recorder
	client *clientv3.Client
	lease  clientv3.LeaseID
	prefix string
}

func newBench(t *testing.T) bench {
	t.Helper()
	c := etcdtest.New(t)
	b := bench{List: look.New(t.Context()), rec: new(etcdtest.Recorder), prefix: c.Prefix(t)}
	b.client = c.Client(t, etcdtest.WithRecorder(b.rec))
	b.lease = b.grant(t)
	b.rec.Reset()
	return b
}

func (b bench) grant(t *testing.T) clientv3.LeaseID {
	t.Helper()
	resp, err := b.client.Grant(guarded(t), 300)
	require.NoError(t, err)
	return resp.ID
}

func (b bench) put(t *testing.T, key string, lease clientv3.LeaseID) (revision int64) {
	t.Helper()
	resp, err := b.client.Put(guarded(t), key, "v", clientv3.WithLease(lease))
	require.NoError(t, err)
	return resp.Header.Revision
}

func (b bench) exists(t *testing.T, key string) bool {
	t.Helper()
	resp, err := b.client.Get(guarded(t), key)
	require.NoError(t, err)
	return len(resp.Kvs) > 0
}

// patience is that of whole looks.
const patience = guard

// look makes a whole look and returns the term it saw.
func (b bench) look(t *testing.T) (term uint64) {
	t.Helper()
	k := b.Begin(b.client, b.lease)
	require.False(t, k.Done(), "there is always something to read")
	term, err := k.Step(guarded(t))
	require.NoError(t, err)
	for !k.Done() {
		require.NoError(t, k.Next(guarded(t), patience))
	}
	return term
}

// sighting is what a judge was told.
type sighting struct {
	kv  *mvccpb.KeyValue
	rev int64
}

func (b bench) observe(key string) (*look.Item, *[]sighting) {
	seen := new([]sighting)
	return b.Add(key, func(kv *mvccpb.KeyValue, rev int64) { *seen = append(*seen, sighting{kv, rev}) }, nil), seen
}

func TestAnEmptyListStillReadsOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	require.Positive(t, b.look(t))
	require.Equal(t, map[string]int{"Txn": 1}, b.rec.Counts())
	require.Zero(t, b.rec.Writes())
}

func TestJudgesAreToldOfPresenceAndAbsence(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	item, seen := b.observe(b.prefix + "k")
	b.look(t)
	rev := b.put(t, b.prefix+"k", b.lease)
	b.look(t)
	require.Len(t, *seen, 2)
	require.Nil(t, (*seen)[0].kv)
	require.Less(t, (*seen)[0].rev, rev)
	require.Equal(t, rev, (*seen)[1].kv.ModRevision)
	require.Equal(t, rev, (*seen)[1].kv.CreateRevision)
	require.GreaterOrEqual(t, (*seen)[1].rev, rev)

	item.Remove()
	item.Remove()
	b.look(t)
	require.Len(t, *seen, 2, "no longer told")
}

func TestTwoMayObserveOneKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first, one := b.observe(b.prefix + "k")
	_, two := b.observe(b.prefix + "k")
	b.look(t)
	first.Remove()
	b.look(t)
	require.Len(t, *one, 1)
	require.Len(t, *two, 2)
}

func TestALookReadsInBatches(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const many = 1001
	all := make([]*[]sighting, many)
	for i := range all {
		_, all[i] = b.observe(fmt.Sprintf("%s%04d", b.prefix, i))
	}
	b.look(t)
	require.Equal(t, map[string]int{"Txn": 8}, b.rec.Counts())
	for _, seen := range all {
		require.Len(t, *seen, 1)
	}
}

func TestAnEntryInDoubtIsRemovedWheneverItTurnsUp(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key := b.prefix + "k"
	b.Suspect(key, 1)
	for range 3 {
		b.look(t)
		require.Equal(t, 1, b.Doubts(), "found absent proves nothing")
	}
	b.put(t, key, b.lease) // it arrives
	b.look(t)
	require.False(t, b.exists(t, key))
	require.Zero(t, b.Doubts())
	b.put(t, key, b.lease)
	b.look(t)
	require.True(t, b.exists(t, key), "no longer looked at")
}

func TestEveryUnsettledPutIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key := b.prefix + "k"
	b.Suspect(key, 2)
	for left := range 2 {
		b.put(t, key, b.lease)
		b.look(t)
		require.False(t, b.exists(t, key))
		require.Equal(t, 1-left, b.Doubts())
	}
}

func TestAnAcknowledgedEntryInDoubtIsSettledByAbsence(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key := b.prefix + "k"
	slot := func() *look.Slot { return b.Reserve(func(int) string { return key }) }
	rev := b.put(t, key, b.lease)
	slot().Unsettle(rev, 0, "v")
	b.look(t)
	require.False(t, b.exists(t, key))
	require.Zero(t, b.Doubts())

	slot().Unsettle(rev, 0, "v") // its removal got through although the reply did not
	b.look(t)
	require.Zero(t, b.Doubts())

	slot().Unsettle(rev+1000, 0, "v") // a look from before the put knows nothing
	b.look(t)
	require.Equal(t, 1, b.Doubts())
}

// Its removal and the put both have no answer, and both are waited for.
func TestAnAcknowledgedEntryAndAnUnsettledPutAreBothWaitedFor(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key := b.prefix + "k"
	rev := b.put(t, key, b.lease)
	b.Reserve(func(int) string { return key }).Unsettle(rev, 1, "v")
	b.look(t)
	require.False(t, b.exists(t, key))
	require.Equal(t, 1, b.Doubts())
	b.put(t, key, b.lease)
	b.look(t)
	require.False(t, b.exists(t, key))
	require.Zero(t, b.Doubts())
}

func TestWhatAnotherLeaseHasPutUnderAKeyInDoubtStays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key := b.prefix + "k"
	b.Suspect(key, 1)
	b.put(t, key, b.grant(t))
	b.look(t)
	require.True(t, b.exists(t, key))
	require.Equal(t, 1, b.Doubts())
}

// The lease's own entry may be under the key, and not be one of those in doubt.
func TestWhatTheLeaseHasPutForAnotherReasonStays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key := b.prefix + "k"
	b.Reserve(func(int) string { return key }).Unsettle(0, 1, "another value")
	b.put(t, key, b.lease)
	b.look(t)
	require.True(t, b.exists(t, key))
	require.Equal(t, 1, b.Doubts())
}

func TestARemovalThatFailsIsTriedAgainByTheNextLook(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key := b.prefix + "k"
	b.Suspect(key, 1)
	b.put(t, key, b.lease)
	allow := b.rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
		if b.rec.Count("Txn")%2 == 0 { // the read is first, the removal second
			return context.DeadlineExceeded
		}
		return invoke()
	})
	require.Positive(t, b.look(t), "the renewal does not suffer")
	require.True(t, b.exists(t, key))
	require.Equal(t, 1, b.Doubts())
	allow()
	b.look(t)
	require.False(t, b.exists(t, key))
	require.Zero(t, b.Doubts())
}

func TestReclaimingAKeyTakesItOutOfDoubt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key := b.prefix + "k"
	unsettled, _ := b.Reclaim(key)
	require.Zero(t, unsettled)
	b.Suspect(key, 3)
	unsettled, _ = b.Reclaim(key)
	require.Equal(t, 3, unsettled)
	require.Zero(t, b.Doubts())
	b.put(t, key, b.lease)
	b.look(t)
	require.True(t, b.exists(t, key))
}

func TestSlotsAreUsedAgainWhenTheirEntryIsGoneForCertain(t *testing.T) {
	t.Parallel()
	list := look.New(t.Context())
	reserve := func(want string) *look.Slot {
		t.Helper()
		s := list.Reserve(func(i int) string { return fmt.Sprint(i) })
		require.Equal(t, want, s.Key())
		return s
	}
	zero, one, two := reserve("0"), reserve("1"), reserve("2")
	require.Zero(t, list.Doubts())
	one.Unsettle(0, 0, "v") // nothing can be there
	reserve("1")
	zero.Unsettle(0, 1, "v")
	require.Equal(t, 1, list.Doubts())
	reserve("3") // a key in doubt is not given out
	two.Unsettle(42, 1, "v")
	require.Equal(t, 2, list.Doubts())
	two.Removed(42)
	two.Removed(42) // hearing of it again is nothing
	reserve("4")    // a put may still arrive
	two.Removed(0)
	reserve("2")
	zero.Removed(0)
	reserve("0")
	require.Zero(t, list.Doubts())
}

func TestWhatIsHeardOfAnEntryThatIsGoneDoesNotFreeItsKeysNextUse(t *testing.T) {
	t.Parallel()
	list := look.New(t.Context())
	reserve := func() *look.Slot { return list.Reserve(func(i int) string { return fmt.Sprint(i) }) }
	first := reserve()
	first.Unsettle(42, 0, "v")
	first.Removed(42)
	require.Equal(t, "0", reserve().Key())
	first.Removed(42)
	require.Equal(t, "1", reserve().Key(), "the first is in use")
}

func TestALookFailsWhenItsReadDoes(t *testing.T) {
	t.Parallel()
	for _, keys := range []int{0, 1} {
		b := newBench(t)
		for range keys {
			b.observe(b.prefix + "k")
		}
		b.rec.FailCalls("Txn", 1, codes.FailedPrecondition)
		k := b.Begin(b.client, b.lease)
		_, err := k.Step(guarded(t))
		require.Error(t, err)
		require.False(t, k.Done())
		_, err = k.Step(guarded(t))
		require.NoError(t, err, "a step can be repeated")
		require.True(t, k.Done())
	}
}

func TestALookWithoutPermissionToReadAsksForTheMembers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.rec.FailCalls("Txn", 1, codes.PermissionDenied)
	require.Positive(t, b.look(t))
	require.Equal(t, map[string]int{"Txn": 1, "MemberList": 1}, b.rec.Counts())
	b.look(t)
	require.Equal(t, map[string]int{"Txn": 1, "MemberList": 2}, b.rec.Counts(), "it is remembered")

	_, seen := b.observe(b.prefix + "k")
	b.rec.Reset()
	b.rec.FailCalls("Txn", 1, codes.PermissionDenied)
	require.Positive(t, b.look(t))
	require.Empty(t, *seen, "what could not be read is not judged")
	require.Equal(t, 1, b.rec.Count("MemberList"))
	b.look(t)
	require.Len(t, *seen, 1, "a key is asked for each time: permissions change")
}

func operations(req any) []*pb.RequestOp {
	txn, _ := req.(*pb.TxnRequest)
	return txn.GetSuccess()
}

// learn makes a whole look, which learns the server's limit of operations.
func (b bench) learn(t *testing.T) {
	t.Helper()
	steps := 0
	for k := b.Begin(b.client, b.lease); !k.Done(); steps++ {
		require.Less(t, steps, 100)
		if _, err := k.Step(guarded(t)); err != nil {
			require.ErrorIs(t, err, rpctypes.ErrTooManyOps)
		}
	}
}

func TestALookLearnsHowManyOperationsTheServerAllows(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const limit, many = 50, 200
	b.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		if len(operations(req)) > limit {
			return rpctypes.ErrGRPCTooManyOps
		}
		return invoke()
	})
	var all []*[]sighting
	for i := range many {
		_, seen := b.observe(fmt.Sprintf("%s%04d", b.prefix, i))
		all = append(all, seen)
	}
	b.learn(t)
	for _, seen := range all {
		require.Len(t, *seen, 1)
	}
	b.rec.Reset()
	b.look(t)
	require.Equal(t, (many+31)/32, b.rec.Count("Txn"), "it is remembered")
}

func TestBackgroundWorkEndsWithTheLease(t *testing.T) {
	t.Parallel()
	ctx, end := context.WithCancel(t.Context())
	list := look.New(ctx)
	began, finished := make(chan struct{}), false
	require.True(t, list.Go(func(ctx context.Context) {
		close(began)
		<-ctx.Done()
		finished = true
	}))
	<-began
	told := 0
	list.Add("k", nil, func() { told++ })
	list.Add("l", nil, nil)
	end()
	list.End()
	require.True(t, finished, "it is waited for")
	require.Equal(t, 1, told)
	require.False(t, list.Go(func(context.Context) { t.Error("started after the end") }))
	list.End()
}

func TestHurriesAddUpToOne(t *testing.T) {
	t.Parallel()
	list := look.New(t.Context())
	list.Hurry()
	list.Hurry()
	<-list.Hurried()
	require.Empty(t, list.Hurried())
}
