package redlock_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

// More extensions than may be under way at a node are no fault of the node.
func TestManyExtendAtOnceAndAllSucceed(t *testing.T) {
	t.Parallel()
	const many, hedges = 10, 3
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		var failed atomic.Int64
		nodes := virtualNodes(t, v, n, redlock.WithObserver(redlock.Observer{
			NoQuorum:   func(string) { failed.Add(1) },
			NodeFailed: func(redlock.NodeFailure) { failed.Add(1) },
		}))
		h := lockVirtual(t, nodes)
		require.NoError(t, h.Extend(t.Context()))
		slowly(v, n, timeout/5)
		defer slowly(v, n, 0)
		<-time.After(ttl / 6)
		before := v.Wire(0).Calls()
		start := time.Now()
		var all sync.WaitGroup
		for range many {
			all.Go(func() {
				if err := h.Extend(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		require.Less(t, time.Since(start), timeout)
		require.Greater(t, h.Remaining(), valid-timeout)
		require.LessOrEqual(t, v.Wire(0).Calls()-before, 2*hedges, "some had to connect")
		require.Zero(t, failed.Load())
		require.NoError(t, h.Unlock(t.Context()))
	})
}
