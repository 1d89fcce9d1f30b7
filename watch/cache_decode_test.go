package watch_test

import (
	"errors"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/watch"
)

var errOdd = errors.New("odd")

// even decodes even numbers only, and panics at negative ones.
func even(_ string, value []byte) (int, error) {
	n, err := strconv.Atoi(string(value))
	switch {
	case err != nil:
		return 0, err
	case n < 0:
		panic(errOdd)
	case n%2 == 1:
		return n, errOdd
	}
	return n, nil
}

func TestValueThatDoesNotDecodeLeavesTheLastGoodOne(t *testing.T) {
	t.Parallel()
	s, c := newStore(), watch.Offline(even)
	c.Apply(s.batch(s.putting("a", "2")))
	good := s.revision
	for _, value := range []string{"3", "x", "-1"} {
		c.Apply(s.batch(s.putting("a", value)))
		item, ok := c.Get("a")
		require.True(t, ok)
		require.Equal(t, 2, item.Value)
		require.Equal(t, s.revision, item.ModRevision)
		bad, ok := errors.AsType[*watch.DecodeError](item.Err)
		require.True(t, ok)
		require.Equal(t, "a", bad.Key)
		require.Equal(t, s.revision, bad.Revision)
		require.Equal(t, good, bad.Good)
		require.ErrorContains(t, item.Err, `watch: value of "a" at revision`)
		fromSnapshot, _ := c.Snapshot().Get("a")
		require.Equal(t, item, fromSnapshot)
	}
	c.Apply(s.batch(s.putting("a", "4")))
	item, _ := c.Get("a")
	require.Equal(t, 4, item.Value)
	require.NoError(t, item.Err)
}

func TestValueThatNeverDecodedIsAnErrorOfTheKey(t *testing.T) {
	t.Parallel()
	s, c := newStore(), watch.Offline(even)
	c.Apply(s.batch(s.putting("a", "3"), s.putting("b", "6")))
	item, ok := c.Get("a")
	require.True(t, ok, "the key exists")
	require.Zero(t, item.Value, "what decode returned besides its error is ignored")
	require.ErrorIs(t, item.Err, errOdd)
	bad, _ := errors.AsType[*watch.DecodeError](item.Err)
	require.Zero(t, bad.Good)
	item, _ = c.Get("b")
	require.NoError(t, item.Err, "another key of the same revision")
	require.Equal(t, 6, item.Value)
}

func TestGoodValueFromBeforeADeleteIsNotKept(t *testing.T) {
	t.Parallel()
	s, c := newStore(), watch.Offline(even)
	c.Apply(s.batch(s.putting("seen", "2"), s.putting("unseen", "2")))
	c.Apply(s.batch(s.removing("seen")))
	c.Apply(s.batch(s.putting("seen", "3")))
	s.batch(s.removing("unseen")) // lost to a compaction
	c.Apply(s.batch(s.putting("unseen", "3")))
	for _, key := range []string{"seen", "unseen"} {
		item, ok := c.Get(key)
		require.True(t, ok)
		require.Zero(t, item.Value, key)
		require.ErrorIs(t, item.Err, errOdd)
	}
}

func TestPanicOfDecodeIsAnErrorOfTheKey(t *testing.T) {
	t.Parallel()
	s, c := newStore(), watch.Offline(even)
	c.Apply(s.batch(s.putting("a", "-1")))
	item, _ := c.Get("a")
	p, ok := errors.AsType[*watch.PanicError](item.Err)
	require.True(t, ok)
	require.ErrorIs(t, item.Err, errOdd)
	require.Contains(t, string(p.Stack), "cache_decode_test.go")
	c.Apply(s.batch(s.putting("a", "2")))
	item, _ = c.Get("a")
	require.NoError(t, item.Err)
}

func TestACacheWhoseDecodeEndsItsGoroutineEndsWithAnError(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t)
	prefix, client := cluster.Prefix(t), cluster.Client(t)
	ends := func(_ string, value []byte) (string, error) {
		if string(value) == "end" {
			runtime.Goexit()
		}
		return string(value), nil
	}
	put(t, client, prefix+"a", "go on")
	c, err := watch.NewCache(guarded(t), client, prefix, ends)
	require.NoError(t, err)
	closeAfter(t, c)
	rev := put(t, client, prefix+"a", "end")
	require.ErrorContains(t, c.WaitRevision(guarded(t), rev), "the decode function ended its goroutine")
	require.ErrorContains(t, c.Err(), "the decode function ended its goroutine")
	item, _ := c.Get(prefix + "a")
	require.Equal(t, "go on", item.Value, "the last state stays readable")
	_, err = watch.NewCache(guarded(t), client, prefix, ends)
	require.ErrorContains(t, err, "the decode function ended its goroutine")
}

func TestDecodeErrorsAreLoggedAndReportedToConsumers(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t)
	prefix, client, book := cluster.Prefix(t), cluster.Client(t), &logBook{}
	put(t, client, prefix+"loaded", "x")
	c, err := watch.NewCache(guarded(t), client, prefix, even, watch.WithLogger(book.logger()))
	require.NoError(t, err, "a value that does not decode does not fail the load")
	closeAfter(t, c)
	put(t, client, prefix+"followed", "3")
	reported := make(map[string]error)
	for change, err := range c.Changes(guarded(t)) {
		require.NoError(t, err)
		if reported[change.Key] = change.Item.Err; len(reported) == 2 {
			break
		}
	}
	require.ErrorIs(t, reported[prefix+"loaded"], strconv.ErrSyntax)
	require.ErrorIs(t, reported[prefix+"followed"], errOdd)
	for key := range reported {
		require.Contains(t, book.String(), "key="+key)
	}
	require.Contains(t, book.String(), "watch: value does not decode")
	require.NoError(t, c.Err())
}

func TestOlderVersionNeverReplacesANewerOne(t *testing.T) {
	t.Parallel()
	s, c := newStore(), watch.Offline(text)
	s.revision = 8 // so that a comparison as text would go wrong
	first := s.batch(s.putting("a", "at 9"), s.putting("gone", "at 9"))
	second := s.batch(s.putting("a", "at 10"))
	third := s.batch(s.removing("gone"))
	c.Apply(first)
	c.Apply(second)
	c.Apply(third)
	_, r := c.Join()
	defer r.Leave()
	for _, b := range []watch.Batch{first, second, third, first} {
		c.Apply(b)
		item, _ := c.Get("a")
		require.Equal(t, "at 10", item.Value)
		_, ok := c.Get("gone")
		require.False(t, ok, "nor does it bring a deleted key back")
		require.Empty(t, r.Next(), "repeated events change nothing")
		require.Equal(t, s.revision, c.Snapshot().Revision())
	}
	// The same within one batch, as a reader that merges streams might deliver it.
	s.revision += 2
	newer := s.put("a", "newer")
	older := &mvccpb.KeyValue{Key: []byte("a"), Value: []byte("older"), ModRevision: newer.Kv.ModRevision - 1, Version: 1}
	s.revision++
	c.Apply(watch.Batch{Revision: s.revision, Events: append(s.batch().Events, newer, putEvent(older))})
	item, _ := c.Get("a")
	require.Equal(t, "newer", item.Value)
}
