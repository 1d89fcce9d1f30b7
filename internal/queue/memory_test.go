package queue_test

import (
	"errors"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/internal/queue"
)

// While two always wait, each entry is put behind one of the same process that waits itself.
func TestAnEntryIsForgottenWhileOthersGoOnWaitingBehindIt(t *testing.T) {
	t.Parallel()
	const rounds = 40
	c := etcdtest.New(t)
	p := peertest.New(t, c)
	prefix := queue.Prefix(c.Prefix(t)+"m", "mutex")
	q := &queue.Queue{
		Session: p.Session, Kind: "mutex", Name: "m", Lanes: []queue.Lane{queue.Exclusive(prefix)},
		Errors: queue.Errors{Lost: errors.New("lost"), Released: errors.New("released"), Taken: errors.New("taken")},
	}
	waits := func() <-chan *queue.Grant {
		granted, watched := make(chan *queue.Grant, 1), p.NextWatch(t)
		go func() {
			g, err := q.Acquire(peertest.Guarded(t))
			if err != nil {
				t.Error(err)
			}
			granted <- g
		}()
		e := peertest.Await(t, p.Waiting, "it waits")
		watched(e.Predecessor, e.Key)
		return granted
	}

	g, err := q.Acquire(peertest.Guarded(t))
	require.NoError(t, err)
	next, last := waits(), waits()
	var collected []func() bool
	for range rounds {
		collected = append(collected, queue.Collected(g))
		require.NoError(t, g.Release(peertest.Guarded(t)))
		g = peertest.Await(t, next, "it is granted")
		require.NotNil(t, g)
		next, last = last, waits()
	}
	// Stopped timers may keep the latest in memory until they would have fired.
	peertest.Eventually(t, func() bool {
		runtime.GC()
		n := 0
		for _, done := range collected {
			if done() {
				n++
			}
		}
		return n >= rounds/2
	}, "entries of the past are forgotten")
	for range 2 {
		require.NoError(t, g.Release(peertest.Guarded(t)))
		g, next = peertest.Await(t, next, "it is granted"), last
	}
	require.NoError(t, g.Release(peertest.Guarded(t)))
}
