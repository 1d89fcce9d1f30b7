package watch_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/watch"
)

func TestChangesReplayTheStateAndThenFollow(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		s, c := newStore(), watch.Offline(text)
		c.Apply(s.batch(s.putting("b", "1"), s.putting("a", "1")))
		loaded := s.revision
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var got []string
		ended := make(chan error)
		go func() {
			for change, err := range c.Changes(ctx) {
				if err != nil {
					ended <- err
					return
				}
				got = append(got, fmt.Sprintf("%s=%s@%d initial %v deleted %v",
					change.Key, change.Item.Value, change.Item.ModRevision-loaded, change.Initial, change.Deleted))
			}
		}()
		synctest.Wait()
		c.Apply(s.batch(s.putting("a", "2")))
		synctest.Wait()
		c.Apply(s.batch(s.removing("b"), s.putting("c", "1")))
		synctest.Wait()
		c.Apply(s.batch())
		synctest.Wait()
		require.Equal(t, []string{
			"a=1@0 initial true deleted false",
			"b=1@0 initial true deleted false",
			"a=2@1 initial false deleted false",
			"b=1@2 initial false deleted true",
			"c=1@2 initial false deleted false",
		}, got)
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.Zero(t, c.HistoryLen(), "who has left is not waited for")
	})
}

func TestChangesMissedInACompactionTellOfKeysMadeAnew(t *testing.T) {
	t.Parallel()
	s, c := newStore(), watch.Offline(text)
	c.Apply(s.batch(s.putting("gone", "1"), s.putting("same", "1"), s.putting("new life", "1")))
	_, r := c.Join()
	defer r.Leave()
	s.batch(s.removing("gone"), s.removing("new life"))
	s.batch(s.putting("new life", "2"), s.putting("added", "1"))
	c.Apply(resync(c.Snapshot(), s))
	var got []string
	for _, change := range r.Next() {
		got = append(got, fmt.Sprintf("%s deleted %v", change.Key, change.Deleted))
	}
	require.ElementsMatch(t, []string{
		"new life deleted true", "new life deleted false", "added deleted false", "gone deleted true",
	}, got)
	require.Less(t, indexOf(got, "new life deleted true"), indexOf(got, "new life deleted false"))
}

func indexOf(all []string, s string) int {
	for i := range all {
		if all[i] == s {
			return i
		}
	}
	return -1
}

func TestSlowConsumerHoldsUpNobody(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t)
	prefix, client := cluster.Prefix(t), cluster.Client(t)
	const keys, rounds = 10, 300
	fill(t, client, prefix, keys, "0")
	c := newTextCache(t, client, prefix)
	c.CutHistoryAt(2 * keys)
	ctx := t.Context()
	proceed, quick := make(chan struct{}), make(chan int64, 1)
	var consumers sync.WaitGroup
	state := make(map[string]string)
	began, delivered := make(chan struct{}), 0
	last := make(chan int64, 1)
	consumers.Go(func() { // slow
		var until int64
		for change, err := range c.Changes(ctx) {
			if err != nil {
				return
			}
			if delivered++; delivered == 1 {
				close(began)
				<-proceed
				until = <-last
			}
			state[change.Key] = fmt.Sprintf("%s@%d", change.Item.Value, change.Item.ModRevision)
			if change.Item.ModRevision == until {
				return
			}
		}
	})
	<-began
	consumers.Go(func() { // quick
		for change, err := range c.Changes(ctx) {
			if err != nil {
				return
			}
			if change.Item.Value == strconv.Itoa(rounds) {
				quick <- change.Item.ModRevision
				return
			}
		}
	})
	var rev int64
	for i := range rounds {
		rev = put(t, client, fmt.Sprintf("%s%06d", prefix, i%keys), strconv.Itoa(i+1))
	}
	require.NoError(t, c.WaitRevision(guarded(t), rev), "the cache is not held up")
	require.Equal(t, rev, <-quick, "nor is another consumer")
	require.LessOrEqual(t, c.HistoryLen(), 4*keys, "what the slow one missed is conflated")
	last <- rev
	close(proceed)
	consumers.Wait()
	require.Less(t, delivered, 6*keys)
	sameState(t, stored(t, client, prefix, rev), state)
}

// Not parallel: it counts the goroutines of the process.
func TestConsumersNeedNoGoroutines(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s, c := newStore(), watch.Offline(text)
		c.Apply(s.batch(s.putting("a", "1")))
		ctx, cancel := context.WithCancel(t.Context())
		const consumers = 1000
		before := runtime.NumGoroutine()
		var ended sync.WaitGroup
		var mu sync.Mutex
		seen := 0
		for range consumers {
			ended.Go(func() {
				for _, err := range c.Changes(ctx) {
					if err != nil {
						return
					}
					mu.Lock()
					seen++
					mu.Unlock()
				}
			})
		}
		synctest.Wait()
		require.Less(t, runtime.NumGoroutine()-before, consumers+consumers/2)
		c.Apply(s.batch(s.putting("a", "2")))
		synctest.Wait()
		mu.Lock()
		require.Equal(t, 2*consumers, seen)
		mu.Unlock()
		cancel()
		ended.Wait()
	})
}

func TestChangesEndWithContextAtOnce(t *testing.T) {
	t.Parallel()
	s, c := newStore(), watch.Offline(text)
	c.Apply(s.batch(s.putting("a", "1"), s.putting("b", "1")))
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var items int
	var last error
	for _, err := range c.Changes(ctx) {
		if last = err; err == nil {
			items++
			cancel(why) // the rest of the replay is not delivered
		}
	}
	require.Equal(t, 1, items)
	require.ErrorIs(t, last, context.Canceled)
	require.ErrorIs(t, last, why)
	require.Zero(t, c.HistoryLen())
}

func TestChangesEndWithTheCacheAfterWhatItHad(t *testing.T) {
	t.Parallel()
	s, c := newStore(), watch.Offline(text)
	c.Apply(s.batch(s.putting("a", "1")))
	errStream := errors.New("the stream ended")
	var values []string
	var last error
	for change, err := range c.Changes(t.Context()) {
		if last = err; err != nil {
			continue // the loop ends by itself
		}
		if values = append(values, change.Item.Value); change.Initial {
			c.Apply(s.batch(s.putting("a", "2")))
			c.Fail(errStream)
		}
	}
	require.Equal(t, []string{"1", "2"}, values)
	require.ErrorIs(t, last, errStream)
	require.ErrorIs(t, c.Err(), errStream)
}

func TestBreakingOutOfChangesReleasesEverything(t *testing.T) {
	t.Parallel()
	s, c := newStore(), watch.Offline(text)
	c.Apply(s.batch(s.putting("a", "1"), s.putting("b", "1")))
	for _, err := range c.Changes(t.Context()) {
		require.NoError(t, err)
		c.Apply(s.batch(s.putting("a", "2")))
		require.Equal(t, 1, c.HistoryLen())
		break
	}
	require.Zero(t, c.HistoryLen())
	again := 0
	for change, err := range c.Changes(t.Context()) { // begins anew
		require.NoError(t, err)
		require.True(t, change.Initial)
		if again++; again == 2 {
			break
		}
	}
	func() {
		defer func() { require.Equal(t, "inside", recover()) }()
		for _, err := range c.Changes(t.Context()) {
			require.NoError(t, err)
			panic("inside")
		}
	}()
	c.Apply(s.batch(s.putting("a", "3")))
	require.Zero(t, c.HistoryLen(), "a panic of the consumer releases it as well")
}

func TestGetIsNeverBehindAChange(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t)
	prefix, client := cluster.Prefix(t), cluster.Client(t)
	c := newTextCache(t, client, prefix)
	ctx, cancel := context.WithCancel(t.Context())
	var consumers sync.WaitGroup
	for range 4 {
		consumers.Go(func() {
			for change, err := range c.Changes(ctx) {
				if err != nil {
					return
				}
				item, ok := c.Get(change.Key)
				if !ok && !change.Deleted { // deleted since
					require.GreaterOrEqual(t, c.Snapshot().Revision(), change.Item.ModRevision)
				} else if ok {
					require.GreaterOrEqual(t, item.ModRevision, change.Item.ModRevision)
				}
			}
		})
	}
	var rev int64
	for i := range 500 {
		if i%7 == 6 {
			rev = remove(t, client, prefix+strconv.Itoa(i%3))
		} else {
			rev = put(t, client, prefix+strconv.Itoa(i%3), strconv.Itoa(i))
		}
	}
	require.NoError(t, c.WaitRevision(guarded(t), rev))
	cancel()
	consumers.Wait()
}

func TestChangesOfOneTransactionComeTogether(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t)
	prefix, client := cluster.Prefix(t), cluster.Client(t)
	c := newTextCache(t, client, prefix)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { // every snapshot has both keys or none, with one value
		defer close(stopped)
		for {
			snapshot := c.Snapshot()
			x, okX := snapshot.Get(prefix + "x")
			y, okY := snapshot.Get(prefix + "y")
			require.Equal(t, okX, okY)
			require.Equal(t, x.Value, y.Value)
			require.Equal(t, x.ModRevision, y.ModRevision)
			if c.WaitRevision(ctx, snapshot.Revision()+1) != nil {
				return
			}
		}
	}()
	var rev int64
	for i := range 300 {
		value := strconv.Itoa(i)
		resp, err := client.Txn(guarded(t)).Then(clientv3.OpPut(prefix+"x", value), clientv3.OpPut(prefix+"y", value)).Commit()
		require.NoError(t, err)
		rev = resp.Header.Revision
	}
	require.NoError(t, c.WaitRevision(guarded(t), rev))
	cancel()
	<-stopped
}
