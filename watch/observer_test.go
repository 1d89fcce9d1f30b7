package watch_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/watch"
)

// witness notes what an observer is told.
type witness struct {
	mu       sync.Mutex
	all      []string
	err      error // of Closed
	progress *watch.Progress
}

func (w *witness) observer() watch.Observer {
	note := func(what string) func(*watch.Progress) {
		return func(p *watch.Progress) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.progress == nil { // when it is opened
				w.progress = p
			}
			w.all = append(w.all, what)
		}
	}
	return watch.Observer{
		Opened: note("opened"), Resynced: note("resynced"),
		Reopened: func(p *watch.Progress, why watch.Reason) { note("reopened " + why.String())(p) },
		Closed: func(p *watch.Progress, err error) {
			note("closed")(p)
			w.err = err
		},
	}
}

func (w *witness) heard() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.all...)
}

func TestObserversHearOfAStreamFromItsBeginningToItsEnd(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, prefix := c.Client(t), c.Prefix(t)
	var w witness
	stream := watch.Stream(guarded(t), client, prefix, watch.WithPrefix(), watch.WithObserver(w.observer()), watch.WithObserver(watch.Observer{}))
	require.Empty(t, w.heard(), "nothing happens before the iteration")
	for _, err := range stream {
		require.NoError(t, err)
		break
	}
	require.Equal(t, []string{"opened", "closed"}, w.heard())
	require.NoError(t, w.err)
	require.Equal(t, prefix, w.progress.Key())
	require.False(t, w.progress.Cache())

	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	var failed error
	for _, err := range watch.Stream(ctx, client, prefix, watch.WithObserver(w.observer())) {
		cancel()
		failed = err
	}
	require.ErrorIs(t, failed, context.Canceled)
	require.Equal(t, failed, w.err)
	require.Equal(t, []string{"opened", "closed", "opened", "closed"}, w.heard())
}

func TestObserversHearOfACacheUntilItIsClosed(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, prefix := c.Client(t), c.Prefix(t)
	var w witness
	cache, err := watch.NewCache(guarded(t), client, prefix, func(_ string, v []byte) (string, error) { return string(v), nil },
		watch.WithObserver(w.observer()))
	require.NoError(t, err)
	require.Equal(t, []string{"opened"}, w.heard())
	require.True(t, w.progress.Cache())
	rev := put(t, client, prefix+"a", "v")
	require.NoError(t, cache.WaitRevision(guarded(t), rev))
	eventually(t, func() bool { return w.progress.Handled() >= rev }, "it is done with the change")
	require.NoError(t, cache.Close(guarded(t)))
	require.Equal(t, []string{"opened", "closed"}, w.heard())
	require.ErrorIs(t, w.err, context.Canceled)
}

func TestLagIsWhatWasReceivedAndNotHandled(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		other := s.Client()
		var w witness
		decoding, decoded := make(chan struct{}), make(chan struct{})
		decode := func(_ string, v []byte) (string, error) {
			if string(v) == "slow" {
				close(decoding)
				<-decoded
			}
			return string(v), nil
		}
		cache, err := watch.NewCache(t.Context(), client, "key", decode, watch.WithStall(10*time.Second), watch.WithObserver(w.observer()))
		require.NoError(t, err)
		vtime.Advance(time.Millisecond)
		require.Zero(t, w.progress.Lag())
		before := w.progress.Handled()
		require.Positive(t, before)
		revs := make([]int64, 3)
		for i, value := range []string{"slow", "b", "c"} {
			resp, err := other.Put(t.Context(), "key", value)
			require.NoError(t, err)
			revs[i] = resp.Header.Revision
		}
		<-decoding
		vtime.Advance(time.Millisecond)
		require.Equal(t, before, w.progress.Handled())
		require.Equal(t, revs[2], w.progress.Received())
		require.EqualValues(t, 3, w.progress.Lag())
		close(decoded)
		vtime.Advance(time.Millisecond)
		require.Zero(t, w.progress.Lag())
		require.Equal(t, revs[2], w.progress.Handled())

		// A quiet stream asks for signs of life; one that is cut off has none.
		vtime.Advance(time.Minute)
		require.Less(t, w.progress.Silence(), 5*time.Second)
		cut.Cut()
		vtime.Advance(time.Minute)
		require.Greater(t, w.progress.Silence(), 55*time.Second)
		cut.Heal()
		vtime.Advance(time.Minute)
		require.Less(t, w.progress.Silence(), 5*time.Second)
		require.Contains(t, w.heard(), "reopened silent")
		require.Contains(t, w.heard(), "reopened stalled")
		require.NoError(t, cache.Close(t.Context()))
	})
}

func TestObserversHearOfCompactionAndSlowness(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	other, prefix := c.Client(t), c.Prefix(t)
	client, net := c.ProxiedClient(t, etcdtest.WithFastReconnect())
	var w witness
	p := newTap(t, client, prefix, watch.WithPrefix(), watch.WithSnapshot(), watch.WithObserver(w.observer()))
	p.upTo(put(t, other, prefix+"a", "v"))
	compactBehind(t, other, net, func() { put(t, other, prefix+"a", "new") })
	for b := p.next(); !b.Resync; b = p.next() {
		require.Empty(t, b.Events)
	}
	require.Contains(t, w.heard(), "resynced")
	require.Contains(t, w.heard(), "reopened compacted")
	require.NotContains(t, w.heard(), "closed")

	var slow witness
	q := newTap(t, other, prefix, watch.WithPrefix(), watch.WithBuffer(1), watch.WithObserver(slow.observer()))
	q.next()
	last := backlog(t, other, prefix, 10)
	q.upTo(last)
	eventually(t, func() bool { return slices.Contains(slow.heard(), "reopened slow") }, "it waited for its consumer")
}

// A stream that ends with an error is not opened again.
func TestTheEndOfAStreamIsNoReopening(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, prefix := c.Client(t), c.Prefix(t)
	rev := put(t, client, prefix, "v")
	var w witness
	for _, err := range watch.Stream(guarded(t), client, prefix, watch.WithRevision(rev+1000), watch.WithObserver(w.observer())) {
		require.ErrorIs(t, err, watch.ErrFutureRevision)
	}
	require.Equal(t, []string{"opened", "closed"}, w.heard())
	require.ErrorIs(t, w.err, watch.ErrFutureRevision)
}
