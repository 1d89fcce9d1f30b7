package vtime_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/vtime"
)

func TestASlowLinkTakesItsTimeForEverything(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.SlowClient(time.Second, 2*time.Second)
		_, err := client.Get(t.Context(), "warm up")
		require.NoError(t, err)
		began := time.Now()
		_, err = client.Put(t.Context(), "key", "value")
		require.NoError(t, err)
		require.Equal(t, 3*time.Second, time.Since(began))

		answered := make(chan time.Duration, 3)
		began = time.Now()
		for range cap(answered) { // all are on their way at once
			go func() {
				_, err := client.Get(t.Context(), "key")
				require.NoError(t, err)
				answered <- time.Since(began)
			}()
			vtime.Sleep(time.Second)
		}
		require.Equal(t, 3*time.Second, <-answered)
		require.Equal(t, 4*time.Second, <-answered)
		require.Equal(t, 5*time.Second, <-answered)
	})
}
