package redlock_test

import (
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

// workers is the number of goroutines for calls to nodes in this bubble.
func workers(t *testing.T) int {
	t.Helper()
	synctest.Wait()
	stacks := make([]byte, 1<<20)
	own := string(stacks[:runtime.Stack(stacks, false)])
	bubble := regexp.MustCompile(`synctest bubble \d+\]`).FindString(own)
	require.NotEmpty(t, bubble, own)
	n := runtime.Stack(stacks, true)
	for ; n == len(stacks); n = runtime.Stack(stacks, true) {
		stacks = make([]byte, 2*len(stacks))
	}
	all := 0
	for stack := range strings.SplitSeq(string(stacks[:n]), "\n\n") {
		if strings.Contains(stack, bubble) && strings.Contains(stack, "redlock.(*workers).work") {
			all++
		}
	}
	return all
}

func TestGoroutinesForCallsAreUsedAgainAndEndWhenTheyRest(t *testing.T) {
	t.Parallel()
	const locks = 8
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		nodes := virtualNodes(t, v, n)
		require.Zero(t, workers(t))
		m, err := redlock.NewMutex(nodes, name, redlock.WithoutRenewal())
		require.NoError(t, err)
		for range 10 * locks {
			h, err := m.Lock(t.Context())
			require.NoError(t, err)
			require.NoError(t, h.Unlock(t.Context()))
			synctest.Wait() // for the nodes that were not needed
		}
		require.Positive(t, workers(t))
		require.LessOrEqual(t, workers(t), 2*n, "they are used again")
		for i := range n {
			v.Wire(i).Cut()
		}
		var waiting []<-chan outcome
		for range locks {
			waiting = append(waiting, lockSoonVirtual(t.Context(), t, nodes, name+string(rune('a'+len(waiting)))))
		}
		require.GreaterOrEqual(t, workers(t), locks*n, "each call has one")
		for i := range n {
			v.Wire(i).Heal()
		}
		for _, done := range waiting {
			require.NoError(t, (<-done).hold.Unlock(t.Context()))
		}
		<-time.After(3 * time.Second)
		require.Zero(t, workers(t), "nobody has needed them for two seconds")
		h := lockVirtual(t, nodes)
		require.NoError(t, h.Unlock(t.Context()), "there are others when they are needed")
	})
}

// All calls of a set of nodes share a timer.
func TestEachCallHasTheWholeNodeTimeout(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		nodes := virtualNodes(t, v, n)
		for _, later := range []time.Duration{2 * timeout, timeout / 2} { // the timer has fired, and has not
			require.NoError(t, lockVirtual(t, nodes).Unlock(t.Context()))
			<-time.After(later)
		}
		for i := range n {
			v.Wire(i).Cut()
		}
		start := time.Now()
		took := make(chan time.Duration, 3)
		for i := range cap(took) {
			m, err := redlock.NewMutex(nodes, name+string(rune('a'+i)))
			require.NoError(t, err)
			began := time.Now()
			go func() {
				_, err := m.TryLock(t.Context())
				if err == nil {
					t.Error("locked")
				}
				took <- time.Since(began)
			}()
			<-time.After(timeout / 4)
		}
		for range cap(took) {
			require.Equal(t, timeout, <-took)
		}
		require.Equal(t, start.Add(timeout+timeout/4*2), time.Now())
	})
}
