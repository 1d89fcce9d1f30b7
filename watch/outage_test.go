package watch_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/watch"
)

// A client of etcd waits longer after each connection that is refused, in the end for two minutes.
func TestACacheFollowsSoonAfterAnOutageOfMinutes(t *testing.T) {
	t.Parallel()
	for _, stall := range []time.Duration{watch.MinStall, watch.DefaultStall, 3 * time.Minute} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			cache := newTextCache(t, s.Client(), "k/", watch.WithStall(stall))
			s.Stop()
			vtime.Advance(200 * time.Second)
			s.Start()
			rev := put(t, s.Client(), "k/a", "1")
			ctx, cancel := context.WithTimeout(t.Context(), min(2*stall, 40*time.Second))
			defer cancel()
			require.NoError(t, cache.WaitRevision(ctx, rev))
			require.NoError(t, cache.Close(t.Context()))
		})
	}
}

// Also one that begins to follow during the outage.
func TestACacheIsReadSoonAfterAnOutageOfMinutes(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		put(t, client, "k/a", "1")
		s.Stop()
		go func() {
			vtime.Sleep(200 * time.Second)
			s.Start()
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 220*time.Second)
		defer cancel()
		cache, err := watch.NewCache(ctx, client, "k/", text)
		require.NoError(t, err)
		require.Equal(t, 1, cache.Snapshot().Len())
		require.NoError(t, cache.Close(t.Context()))
	})
}
