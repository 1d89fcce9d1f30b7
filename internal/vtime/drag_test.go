package vtime_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/vtime"
)

func TestDragDelaysEachMessageAndCountsWhatIsSent(t *testing.T) {
	t.Parallel()
	const most = time.Second
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		d := vtime.NewDrag(1, most)
		client := s.Client(vtime.WithDrag(d))
		var longest time.Duration
		for range 20 {
			began := time.Now()
			_, err := client.Put(t.Context(), "k", "v")
			require.NoError(t, err)
			longest = max(longest, time.Since(began))
		}
		require.Greater(t, longest, most, "request and reply")
		require.LessOrEqual(t, longest, 2*most)

		watch := client.Watch(t.Context(), "k")
		_, err := client.Put(t.Context(), "k", "v")
		require.NoError(t, err)
		require.Len(t, (<-watch).Events, 1)
		require.Equal(t, map[string]int{"Put": 21, "Watch (opened)": 1, "Watch": 1}, d.Counted())
	})
}
