package watch_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"github.com/conclave-go/conclave/watch"
)

// batchOf is a batch that ends at a revision, with a PUT of each key.
func batchOf(revision int64, keys ...string) watch.Batch {
	b := watch.Batch{Revision: revision}
	for _, key := range keys {
		b.Events = append(b.Events, &clientv3.Event{Type: clientv3.EventTypePut, Kv: kvOf(key, revision)})
	}
	return b
}

// taken returns what is left in a buffer.
func taken(b watch.Buffer) (all []watch.Batch) {
	for {
		batch, _, ok := b.Take()
		if !ok {
			return all
		}
		all = append(all, batch)
	}
}

func TestNewsThatNothingHappenedDoesNotPileUp(t *testing.T) {
	t.Parallel()
	for _, conflate := range []bool{false, true} {
		b := watch.NewBuffer(1000, conflate)
		b.PutGap(1)
		b.PutGap(2)
		for rev := int64(3); rev < 10_000; rev++ {
			b.Put(batchOf(rev))
		}
		_, places := b.Size()
		require.Equal(t, 2, places)
		batch, gap, _ := b.Take()
		require.True(t, gap)
		require.EqualValues(t, 2, batch.Revision)
		require.Equal(t, []watch.Batch{{Revision: 9999}}, taken(b))
	}
}

func TestConflatingBufferDoesNotGrowWithABusyKey(t *testing.T) {
	t.Parallel()
	b := watch.NewBuffer(10_000, true)
	b.Put(batchOf(1, "quiet"))
	for rev := int64(2); rev < 100_000; rev++ {
		require.True(t, b.Put(batchOf(rev, "busy")))
		_, places := b.Size()
		require.Less(t, places, 2000)
	}
	all := taken(b)
	require.Len(t, all, 1)
	require.Equal(t, []string{"+quiet=@1", "+busy=@99999"}, show(all[0]))
	bytes, places := b.Size()
	require.Zero(t, bytes)
	require.Zero(t, places)
}

// made returns the revision at the end of what show says of an event.
func made(event string) int64 {
	rev, err := strconv.ParseInt(event[strings.LastIndexByte(event, '@')+1:], 10, 64)
	if err != nil {
		panic(err)
	}
	return rev
}

// The buffer, taken by turns with what is put into it, says the same as a list would.
func TestBufferMatchesAModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		conflate := rapid.Bool().Draw(t, "conflate")
		b := watch.NewBuffer(1<<20, conflate)
		var want, got []string // every event that is wanted, and what was taken
		have := make(map[string]string)
		last, skipped, seen := int64(0), int64(0), int64(0)
		take := func() bool {
			batch, _, ok := b.Take()
			if !ok {
				return false
			}
			if batch.Revision <= seen || batch.Revision <= skipped {
				t.Fatalf("revision %d after %d and %d", batch.Revision, seen, skipped)
			}
			seen = batch.Revision
			got = append(got, show(batch)...)
			for _, ev := range batch.Events {
				have[string(ev.Kv.Key)] = show(watch.Batch{Events: []*clientv3.Event{ev}})[0]
			}
			return true
		}
		latest := make(map[string]string)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				last += rapid.Int64Range(1, 3).Draw(t, "step")
				keys := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3, rapid.ID).Draw(t, "keys")
				batch := batchOf(last, keys...)
				if rapid.Bool().Draw(t, "two revisions") {
					last++
					batch.Revision = last
					batch.Events = append(batch.Events, batchOf(last, "d").Events...)
					keys = append(keys, "d")
				}
				b.Put(batch)
				if batch.Revision <= skipped {
					return
				}
				batch.Events = slices.DeleteFunc(slices.Clone(batch.Events), func(ev *clientv3.Event) bool { return ev.Kv.ModRevision <= skipped })
				keys = keys[len(keys)-len(batch.Events):]
				want = append(want, show(batch)...)
				for i, key := range keys {
					latest[key] = show(batch)[i]
				}
			},
			"take": func(*rapid.T) { take() },
			"skip": func(t *rapid.T) {
				// As after a read, which may be ahead of the watch.
				skipped = rapid.Int64Range(max(skipped, seen), max(last, skipped, seen)+3).Draw(t, "skip")
				b.Skip(skipped)
				kept := want[:0]
				for _, w := range want {
					if made(w) > skipped || slices.Contains(got, w) {
						kept = append(kept, w)
					}
				}
				want = kept
			},
			"": func(t *rapid.T) {
				bytes, _ := b.Size()
				if bytes < 0 {
					t.Fatalf("size %d", bytes)
				}
			},
		})
		for take() {
		}
		if bytes, _ := b.Size(); bytes != 0 {
			t.Fatalf("an empty buffer has a size of %d", bytes)
		}
		if !conflate {
			require.Equal(t, strings.Join(want, " "), strings.Join(got, " "))
		}
		for key, event := range latest {
			if made(event) > skipped {
				require.Equal(t, event, have[key])
			}
		}
	})
}

// A member that lags behind creates the watch after which the state has to be read.
func TestAGapThatIsNotAboveWhatIsWantedIsKept(t *testing.T) {
	t.Parallel()
	for _, conflate := range []bool{false, true} {
		b := watch.NewBuffer(1000, conflate)
		b.Skip(100)
		b.PutGap(90)
		b.Put(batchOf(95, "seen"))
		batch, gap, ok := b.Take()
		require.True(t, ok && gap)
		require.EqualValues(t, 90, batch.Revision)
		require.Empty(t, taken(b))
	}
}

// The consumer has not taken it yet when the state has to be read once more.
func TestConflationKeepsThatAnotherHistoryBegins(t *testing.T) {
	t.Parallel()
	b := watch.NewBuffer(1000, true)
	b.PutAnew(10)
	b.Put(batchOf(11, "key"))
	b.PutGap(20)
	require.True(t, b.TakeAnew())
	require.Empty(t, taken(b))
}
