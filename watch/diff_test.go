package watch_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/watch"
)

// kvOf is a key that was modified at a revision.
func kvOf(key string, revision int64) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{Key: []byte(key), ModRevision: revision}
}

func TestDifferenceIsInOrderOfRevisionsAlsoIfNothingWasKnown(t *testing.T) {
	t.Parallel()
	state := []*mvccpb.KeyValue{kvOf("a", 9), kvOf("b", 3), kvOf("c", 7)}
	events := watch.Difference(maps.All(map[string]int64{}), state, 10)
	var keys []string
	for _, ev := range events {
		require.Equal(t, clientv3.EventTypePut, ev.Type)
		keys = append(keys, string(ev.Kv.Key))
	}
	require.Equal(t, []string{"b", "c", "a"}, keys)
}

// FuzzResyncDiff reads what was known, and what there is, from pairs of bytes: a key and
// its revision.
func FuzzResyncDiff(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""},
		{"a1", ""},
		{"", "a1"},
		{"a1b2c3", "a1b2c3"},
		{"a1b2c3", "a1b5d6"},
		{"a1b2", "c3d4"},
		{"\x00\x01\xff\x02", "\xff\x03"},
		{"b2a1", "a1a2b9"},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, before, after []byte) {
		const revision = 1000
		known, now := parse(before), parse(after)
		var state []*mvccpb.KeyValue
		for _, key := range slices.Sorted(maps.Keys(now)) {
			state = append(state, kvOf(key, now[key]))
		}
		events := watch.Difference(maps.All(known), state, revision)

		// Applied to what was known it gives what there is, without a superfluous or
		// repeated event, in order.
		have := maps.Clone(known)
		touched := make(map[string]bool)
		for _, ev := range events {
			key := string(ev.Kv.Key)
			require.False(t, touched[key], "%q is there twice", key)
			touched[key] = true
			if ev.Type == clientv3.EventTypeDelete {
				require.Contains(t, known, key)
				require.NotContains(t, now, key)
				require.EqualValues(t, revision, ev.Kv.ModRevision)
				delete(have, key)
				continue
			}
			require.Equal(t, now[key], ev.Kv.ModRevision)
			require.NotEqual(t, known[key], ev.Kv.ModRevision)
			have[key] = ev.Kv.ModRevision
		}
		require.Equal(t, now, have)
		require.True(t, slices.IsSortedFunc(events, func(a, b *clientv3.Event) int {
			if len(known) == 0 {
				return bytes.Compare(a.Kv.Key, b.Kv.Key)
			}
			return int(a.Kv.ModRevision - b.Kv.ModRevision)
		}), fmt.Sprint(events))
	})
}

// parse reads pairs of bytes.
func parse(data []byte) map[string]int64 {
	all := make(map[string]int64)
	for pair := range slices.Chunk(data, 2) {
		if len(pair) == 2 {
			all[string(pair[:1])] = int64(pair[1]) + 1
		}
	}
	return all
}
