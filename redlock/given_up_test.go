package redlock_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

// Nodes are not out because callers have left before they were asked.
func TestAcquisitionsThatWereGivenUpBeforeTheyBeganAreNoOutage(t *testing.T) {
	t.Parallel()
	const conns, crowd, trip = 4, 50, 100 * time.Millisecond
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		var outages, granted atomic.Int64
		var l log
		nodes := pooled(t, v, n, conns, redlock.WithLogger(slog.New(slog.NewTextHandler(&l, nil))), redlock.WithObserver(redlock.Observer{
			NoQuorum: func(string) { outages.Add(1) },
			Granted:  func(redlock.Event) { granted.Add(1) },
		}))
		tryAll(t, nodes, 2*conns) // they connect
		granted.Store(0)
		slowly(v, n, trip)
		ctx, cancel := context.WithTimeout(t.Context(), trip*3/2)
		defer cancel()
		var all sync.WaitGroup
		for i := range crowd {
			m, err := redlock.NewMutex(nodes, fmt.Sprintf("given-up-%d", i))
			require.NoError(t, err)
			all.Go(func() {
				h, err := m.TryLock(ctx)
				if err == nil {
					err = h.Unlock(t.Context())
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		<-time.After(time.Minute)
		require.Positive(t, granted.Load())
		require.Less(t, granted.Load(), int64(crowd/2), "the others had no time")
		require.Zero(t, outages.Load())
		require.Empty(t, l.text())
	})
}
