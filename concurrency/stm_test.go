package concurrency_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	official "go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

var isolations = []concurrency.Isolation{
	concurrency.SerializableSnapshot, concurrency.Serializable, concurrency.RepeatableReads, concurrency.ReadCommitted,
}

// run runs a transaction that is to succeed.
func run(t *testing.T, client *clientv3.Client, fn func(s concurrency.STM) error, opts ...concurrency.STMOption) *clientv3.TxnResponse {
	t.Helper()
	resp, err := concurrency.NewSTM(client, fn, append(opts, concurrency.WithAbortContext(guarded(t)))...)
	require.NoError(t, err)
	require.True(t, resp.Succeeded)
	return resp
}

// store returns a client of a store of its own, and what it sends.
func store(t *testing.T) (*clientv3.Client, *etcdtest.Recorder) {
	t.Helper()
	rec := &etcdtest.Recorder{}
	return etcdtest.New(t, etcdtest.WithControl()).Client(t, etcdtest.WithRecorder(rec)), rec
}

func TestIsolationsHaveTheValuesOfTheOtherLibrary(t *testing.T) {
	t.Parallel()
	require.EqualValues(t, official.SerializableSnapshot, concurrency.SerializableSnapshot)
	require.EqualValues(t, official.ReadCommitted, concurrency.ReadCommitted)
	require.EqualValues(t, official.RepeatableReads, concurrency.RepeatableReads)
	require.EqualValues(t, official.Serializable, concurrency.Serializable)
}

// Money is moved between accounts by members with either library, and none is lost.
func TestTransfersThatConflictKeepTheSum(t *testing.T) {
	t.Parallel()
	client, _ := store(t)
	const accounts, movers, moves = 5, 6, 15
	account := func(i int) string { return fmt.Sprint("account/", i) }
	for i := range accounts {
		put(t, client, account(i), "100")
	}
	move := func(get func(...string) string, put func(key, val string, opts ...clientv3.OpOption)) error {
		from, to := rand.IntN(accounts), rand.IntN(accounts)
		if from == to {
			return nil
		}
		has, err := strconv.Atoi(get(account(from)))
		got, err2 := strconv.Atoi(get(account(to)))
		put(account(from), strconv.Itoa(has-has/2))
		put(account(to), strconv.Itoa(got+has/2))
		return errors.Join(err, err2)
	}
	var wg sync.WaitGroup
	for m := range movers {
		wg.Go(func() {
			for range moves {
				var err error
				if m%3 == 0 {
					_, err = official.NewSTM(client, func(s official.STM) error { return move(s.Get, s.Put) })
				} else {
					_, err = concurrency.NewSTM(client, func(s concurrency.STM) error { return move(s.Get, s.Put) },
						concurrency.WithIsolation(isolations[m%3]))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for i := range accounts {
		n, err := strconv.Atoi(string(get(t, client, account(i)).Value))
		require.NoError(t, err)
		sum += n
	}
	require.Equal(t, 100*accounts, sum)
}

func TestATransactionSeesWhatItHasWritten(t *testing.T) {
	t.Parallel()
	client, _ := store(t)
	rev := put(t, client, "b", "was")
	put(t, client, "c", "c")
	for _, iso := range isolations {
		resp := run(t, client, func(s concurrency.STM) error {
			require.Empty(t, s.Get())
			require.Equal(t, "was", s.Get("b"))
			s.Put("b", "is")
			require.Equal(t, "is", s.Get("b"))
			require.Equal(t, rev, s.Rev("b"), "that of the store")
			s.Del("b")
			require.Empty(t, s.Get("b"))
			s.Put("b", "was", clientv3.WithIgnoreLease())
			require.Equal(t, "c", s.Get("c", "b"), "the first of several")
			require.Equal(t, "c", s.Get("c", "other"))
			require.Empty(t, s.Get("other", "c"))
			require.Zero(t, s.Rev("other"))
			require.True(t, concurrency.Exists(s, "b"))
			require.False(t, concurrency.Exists(s, "other"))
			s.Put("new", "n")
			s.Del("old")
			return nil
		}, concurrency.WithIsolation(iso))
		rev = resp.Header.Revision
		require.Equal(t, "n", string(get(t, client, "new").Value))
		remove(t, client, "new")
		put(t, client, "old", "o")
	}
}

func TestAnErrorOfApplyWritesNothing(t *testing.T) {
	t.Parallel()
	client, _ := store(t)
	boom := errors.New("boom")
	_, err := concurrency.NewSTM(client, func(s concurrency.STM) error {
		s.Put("k", "v")
		return boom
	})
	require.Equal(t, boom, err)
	require.Nil(t, get(t, client, "k"))
	require.PanicsWithValue(t, "at the helm", func() {
		_, _ = concurrency.NewSTM(client, func(concurrency.STM) error { panic("at the helm") })
	})
}

func TestBadArgumentsOfATransactionAreRefused(t *testing.T) {
	t.Parallel()
	client, _ := store(t)
	nop := func(concurrency.STM) error { return nil }
	_, err := concurrency.NewSTM(nil, nop)
	require.ErrorContains(t, err, "client is nil")
	_, err = concurrency.NewSTM(client, nil)
	require.ErrorContains(t, err, "apply is nil")
	_, err = concurrency.NewSTM(client, nop, concurrency.WithIsolation(4))
	require.ErrorContains(t, err, "isolation 4")
	_, err = concurrency.NewSTM(client, func(s concurrency.STM) error { concurrency.GetPrefix(s, ""); return nil })
	require.ErrorContains(t, err, "neither must be empty")
	put(t, client, "k", "no JSON")
	_, err = concurrency.NewSTM(client, func(s concurrency.STM) error { concurrency.GetJSON[int](s, "k"); return nil })
	require.ErrorContains(t, err, `value of "k"`)
	_, err = concurrency.NewSTM(client, func(s concurrency.STM) error { concurrency.PutJSON(s, "k", func() {}); return nil })
	require.ErrorContains(t, err, `value for "k"`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, stm := range []func(context.Context, *clientv3.Client, func(concurrency.STM) error) (*clientv3.TxnResponse, error){
		concurrency.NewSTMRepeatable, concurrency.NewSTMSerializable, concurrency.NewSTMReadCommitted,
	} {
		_, err := stm(ctx, client, func(s concurrency.STM) error { s.Get("k"); return nil })
		require.Equal(t, context.Canceled, err)
		resp, err := stm(guarded(t), client, func(s concurrency.STM) error { s.Put("l", s.Get("k")); return nil })
		require.NoError(t, err)
		require.True(t, resp.Succeeded)
	}
}

// interference is what somebody else does between the reads and the commit of the first
// attempt, and whether each isolation has to notice it.
type interference struct {
	read    func(s concurrency.STM)
	do      func(t *testing.T, client *clientv3.Client)
	notices map[concurrency.Isolation]bool
}

func all(but ...concurrency.Isolation) map[concurrency.Isolation]bool {
	notices := map[concurrency.Isolation]bool{
		concurrency.SerializableSnapshot: true, concurrency.Serializable: true, concurrency.RepeatableReads: true,
	}
	for _, iso := range but {
		notices[iso] = false
	}
	return notices
}

func TestWhatEachIsolationNotices(t *testing.T) {
	t.Parallel()
	client, _ := store(t)
	puts := func(key string) func(*testing.T, *clientv3.Client) {
		return func(t *testing.T, client *clientv3.Client) { t.Helper(); put(t, client, key, "by another") }
	}
	removes := func(key string) func(*testing.T, *clientv3.Client) {
		return func(t *testing.T, client *clientv3.Client) { t.Helper(); remove(t, client, key) }
	}
	prefix := func(s concurrency.STM) { concurrency.GetPrefix(s, "r/") }
	for what, in := range map[string]interference{
		"a key that was read is modified":    {func(s concurrency.STM) { s.Get("k") }, puts("k"), all()},
		"a key that was read is deleted":     {func(s concurrency.STM) { s.Get("k") }, removes("k"), all()},
		"a key that was absent comes":        {func(s concurrency.STM) { s.Get("absent") }, puts("absent"), all()},
		"a key whose revision was read":      {func(s concurrency.STM) { s.Rev("k") }, puts("k"), all()},
		"a prefetched key, not the first":    {func(s concurrency.STM) { s.Get("x", "k") }, puts("k"), all()},
		"a key of a range is modified":       {prefix, puts("r/b"), all()},
		"a key of a range is deleted":        {prefix, removes("r/b"), all()},
		"a phantom comes":                    {prefix, puts("r/aa"), all()},
		"a phantom comes at the end":         {prefix, puts("r/zz"), all()},
		"a phantom comes to an empty range":  {func(s concurrency.STM) { concurrency.GetRange(s, "e/", "e0") }, puts("e/x"), all()},
		"something beside a range":           {prefix, puts("r0"), nil},
		"something else":                     {func(s concurrency.STM) { s.Get("k") }, puts("z"), nil},
		"what is written is modified":        {func(s concurrency.STM) { s.Get("k") }, puts("out"), all(concurrency.Serializable, concurrency.RepeatableReads)},
		"what is written without a read":     {func(concurrency.STM) {}, puts("out"), nil},
		"what is read after the own put":     {func(s concurrency.STM) { s.Put("k", "own"); s.Get("k") }, puts("k"), nil},
		"whether a key exists is read":       {func(s concurrency.STM) { concurrency.Exists(s, "absent") }, puts("absent"), all()},
		"a value of JSON is read":            {func(s concurrency.STM) { concurrency.GetJSON[int](s, "j") }, puts("j2"), nil},
		"a range that was read after a read": {func(s concurrency.STM) { s.Get("k"); prefix(s) }, puts("r/aa"), all()},
	} {
		for _, iso := range isolations {
			for _, key := range []string{"k", "r/a", "r/b", "r/c"} {
				put(t, client, key, "v")
			}
			put(t, client, "j", "1")
			_, err := client.Delete(guarded(t), "absent")
			require.NoError(t, err)
			_, err = client.Delete(guarded(t), "e/", clientv3.WithPrefix())
			require.NoError(t, err)
			attempts := 0
			run(t, client, func(s concurrency.STM) error {
				in.read(s)
				if attempts++; attempts == 1 {
					in.do(t, client)
				}
				s.Put("out", "mine")
				return nil
			}, concurrency.WithIsolation(iso))
			want := 1
			if in.notices[iso] {
				want = 2
			}
			require.Equal(t, want, attempts, "%s, isolation %d", what, iso)
			require.Equal(t, "mine", string(get(t, client, "out").Value), what)
		}
	}
}

func TestReadsOfASnapshotAreOfOneRevision(t *testing.T) {
	t.Parallel()
	client, _ := store(t)
	for _, iso := range isolations {
		snapshot := iso == concurrency.SerializableSnapshot || iso == concurrency.Serializable
		put(t, client, "a", "1")
		put(t, client, "b", "1")
		put(t, client, "r/a", "1")
		attempts := 0
		run(t, client, func(s concurrency.STM) error {
			first := s.Get("a")
			if attempts++; attempts == 1 {
				put(t, client, "b", "2")
				put(t, client, "r/b", "2")
			}
			want := "2"
			if snapshot && attempts == 1 {
				want = first
			}
			require.Equal(t, want, s.Get("b"), "isolation %d", iso)
			require.Equal(t, want == "2", len(concurrency.GetPrefix(s, "r/")) == 2, "isolation %d", iso)
			require.Equal(t, s.Get("a"), first, "the same twice")
			return nil
		}, concurrency.WithIsolation(iso))
		remove(t, client, "r/b")
	}
}

// The range is of the snapshot's revision, before the phantom, and has to be checked from
// there.
func TestAPhantomThatComesBetweenTheSnapshotAndTheReadOfARangeIsNoticed(t *testing.T) {
	t.Parallel()
	client, _ := store(t)
	for _, iso := range isolations[:2] {
		attempts := 0
		run(t, client, func(s concurrency.STM) error {
			s.Get("k")
			if attempts++; attempts == 1 {
				put(t, client, "r/a", "phantom")
			}
			s.Put("out", fmt.Sprint(len(concurrency.GetPrefix(s, "r/"))))
			return nil
		}, concurrency.WithIsolation(iso))
		require.Equal(t, 2, attempts)
		require.Equal(t, "1", string(get(t, client, "out").Value))
		remove(t, client, "r/a")
	}
}

// What the commit that failed has found is of another revision than a snapshot that begins
// with something else.
func TestASnapshotThatBeginsElsewhereDoesNotUseWhatTheLastCommitFound(t *testing.T) {
	t.Parallel()
	client, _ := store(t)
	for _, iso := range isolations[:2] {
		attempts := 0
		run(t, client, func(s concurrency.STM) error {
			switch attempts++; attempts {
			case 1:
				s.Get("a")
				put(t, client, "a", "1")
			case 2:
				_, err := client.Txn(guarded(t)).Then(clientv3.OpPut("a", "2"), clientv3.OpPut("b", "2")).Commit()
				require.NoError(t, err)
				require.Equal(t, "2", s.Get("b"))
				require.Equal(t, "2", s.Get("a"), "of the same revision")
			}
			return nil
		}, concurrency.WithIsolation(iso))
		require.Equal(t, 2, attempts)
		remove(t, client, "a")
		remove(t, client, "b")
	}
}

func TestRangesShowWhatWasWrittenInThem(t *testing.T) {
	t.Parallel()
	client, _ := store(t)
	rev := put(t, client, "r/b", "b")
	put(t, client, "r/d", "d")
	run(t, client, func(s concurrency.STM) error {
		s.Put("r/a", "a")
		s.Put("r/d", "D")
		s.Put("s", "outside")
		s.Put("r/c", "c")
		s.Del("r/c")
		require.Equal(t, []concurrency.KeyValue{{"r/a", "a", 0}, {"r/b", "b", rev}, {"r/d", "D", 0}}, concurrency.GetPrefix(s, "r/"))
		require.Equal(t, []concurrency.KeyValue{{"r/b", "b", rev}}, concurrency.GetRange(s, "r/b", "r/d"))
		s.Del("r/b")
		require.Empty(t, concurrency.GetRange(s, "r/b", "r/d"))
		require.Len(t, concurrency.GetPrefix(s, "\xff"), 0)
		return nil
	})
}

func TestTypedValuesAreKeptAsJSON(t *testing.T) {
	t.Parallel()
	client, _ := store(t)
	type job struct{ Tries int }
	for i := range 3 {
		run(t, client, func(s concurrency.STM) error {
			j, exists := concurrency.GetJSON[job](s, "job")
			require.Equal(t, i > 0, exists)
			j.Tries++
			concurrency.PutJSON(s, "job", j)
			return nil
		})
	}
	require.JSONEq(t, `{"Tries": 3}`, string(get(t, client, "job").Value))
}

func TestWhatATransactionCosts(t *testing.T) {
	t.Parallel()
	client, rec := store(t)
	requests := func() (n int) {
		for _, call := range rec.Calls() {
			if _, ok := call.Request.(*pb.TxnRequest); ok {
				n++
			}
		}
		rec.Reset()
		return n
	}
	swap := func(s concurrency.STM) error {
		a, b := s.Get("a"), s.Get("b")
		s.Put("a", b)
		s.Put("b", a)
		return nil
	}
	cost := func(opts ...concurrency.STMOption) int {
		rec.Reset()
		run(t, client, swap, opts...)
		return requests()
	}
	// What is late is asked again.
	eventually(t, func() bool { return cost() == 3 }, "two reads and a commit")
	eventually(t, func() bool { return cost(concurrency.WithPrefetch("a", "b")) == 2 }, "one read and a commit")
	// A conflict costs the commit that fails: its answer has what the next attempt reads.
	for _, iso := range isolations[:3] {
		eventually(t, func() bool {
			rec.Reset()
			attempts, own := 0, 0
			run(t, client, func(s concurrency.STM) error {
				if attempts++; attempts == 2 {
					own = requests()
				}
				s.Get("a", "b")
				concurrency.GetPrefix(s, "r/")
				if attempts == 1 {
					put(t, client, "b", "meanwhile")
				}
				s.Put("a", "x")
				return nil
			}, concurrency.WithIsolation(iso))
			return own == 3 && requests() == 1
		}, "two reads and the commit that failed; the next attempt is a commit alone")
	}
}

func TestASnapshotThatWasCompactedAwayIsTakenAnew(t *testing.T) {
	t.Parallel()
	client, _ := store(t)
	put(t, client, "a", "1")
	attempts := 0
	run(t, client, func(s concurrency.STM) error {
		s.Get("a")
		if attempts++; attempts == 1 {
			_, err := client.Compact(guarded(t), put(t, client, "b", "2"))
			require.NoError(t, err)
		}
		require.Equal(t, "2", s.Get("b"))
		return nil
	})
	require.Equal(t, 2, attempts)
}

func TestMoreKeysAreReadThanATransactionTakes(t *testing.T) {
	t.Parallel()
	client, _ := store(t)
	var keys []string
	for i := range 300 {
		keys = append(keys, fmt.Sprint("k", i))
	}
	put(t, client, "k299", "last")
	run(t, client, func(s concurrency.STM) error {
		require.Equal(t, "last", s.Get("k299"))
		return nil
	}, concurrency.WithPrefetch(keys...), concurrency.WithIsolation(concurrency.ReadCommitted))
	_, err := concurrency.NewSTM(client, func(s concurrency.STM) error { s.Put("out", s.Get(keys...)); return nil })
	require.ErrorContains(t, err, "too many operations", "which is the server's limit for what is checked")
}

// A member that lags behind the snapshot refuses; the others have it.
func TestASnapshotIsReadElsewhereIfTheMemberLagsBehind(t *testing.T) {
	t.Parallel()
	client, rec := store(t)
	put(t, client, "a", "1")
	lags := true
	rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		for _, op := range req.(*pb.TxnRequest).Success { //nolint:errcheck // Txn has no other
			if r := op.GetRequestRange(); lags && r.GetSerializable() {
				lags = false
				return rpctypes.ErrGRPCFutureRev
			}
		}
		return invoke()
	})
	attempts := 0
	run(t, client, func(s concurrency.STM) error {
		s.Get("a")
		if attempts++; attempts == 1 {
			put(t, client, "b", "later")
			require.Empty(t, s.Get("b"), "as of the snapshot")
		}
		s.Put("out", "["+s.Get("b")+"]")
		return nil
	})
	require.False(t, lags)
	require.Equal(t, "[later]", string(get(t, client, "out").Value), "in the second attempt")
}
