package conclaveprom_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/conclaveprom"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/watch"
)

func TestStreamsAndCachesTellHowFarTheyAre(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		metrics := newMetrics(t, conclaveprom.WithWatchLabel(func(key string) string { return strings.Trim(key, "/") }))
		client, cut := s.CutClient()
		other := s.Client()
		hold, held := make(chan struct{}), make(chan struct{})
		decode := func(_ string, v []byte) (string, error) {
			if string(v) == "slow" {
				close(held)
				<-hold
			}
			return string(v), nil
		}
		cache, err := watch.NewCache(t.Context(), client, "config/", decode, watch.WithObserver(metrics.Watch()), watch.WithStall(10*time.Second))
		require.NoError(t, err)
		vtime.Advance(time.Millisecond)
		require.Equal(t, map[string]float64{"cache config": 1}, values(t, metrics, "conclave_watch_streams"))
		require.Equal(t, map[string]float64{"cache config": 0}, values(t, metrics, "conclave_watch_revision_lag"))
		require.Equal(t, map[string]float64{"cache config": 0}, values(t, metrics, "conclave_watch_resyncs_total"))
		for _, v := range []string{"slow", "a", "b"} {
			_, err := other.Put(t.Context(), "config/a", v)
			require.NoError(t, err)
		}
		<-held
		vtime.Advance(time.Millisecond)
		require.Equal(t, map[string]float64{"cache config": 3}, values(t, metrics, "conclave_watch_revision_lag"))
		close(hold)
		vtime.Advance(time.Millisecond)
		require.Equal(t, map[string]float64{"cache config": 0}, values(t, metrics, "conclave_watch_revision_lag"))
		cut.Cut()
		vtime.Advance(time.Minute)
		require.Greater(t, values(t, metrics, "conclave_watch_silence_seconds")["cache config"], 55.)
		for range 2 { // what happens meanwhile is compacted away
			_, err = other.Put(t.Context(), "config/a", "c")
			require.NoError(t, err)
		}
		resp, err := other.Put(t.Context(), "config/a", "d")
		require.NoError(t, err)
		_, err = other.Compact(t.Context(), resp.Header.Revision)
		require.NoError(t, err)
		cut.Heal()
		require.NoError(t, cache.WaitRevision(t.Context(), resp.Header.Revision))
		require.Equal(t, map[string]float64{"cache config": 1}, values(t, metrics, "conclave_watch_resyncs_total"))
		require.Positive(t, values(t, metrics, "conclave_watch_reopened_total")["cache config compacted"])
		for _, err := range watch.Stream(t.Context(), client, "config/", watch.WithPrefix(), watch.WithObserver(metrics.Watch())) {
			require.NoError(t, err)
			require.Equal(t, map[string]float64{"cache config": 1, "stream config": 1}, values(t, metrics, "conclave_watch_streams"))
			break
		}
		require.NoError(t, cache.Close(t.Context()))
		require.Empty(t, values(t, metrics, "conclave_watch_streams"))
	})
}
