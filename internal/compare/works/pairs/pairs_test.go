package pairs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/compare/works/pairs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMomentsAreSpreadOverEqualParts(t *testing.T) {
	t.Parallel()
	const n, part = 10, 100 * time.Millisecond
	for i := range n {
		first := pairs.Spread(n*part, i, n)
		differ := false
		for range 100 {
			at := pairs.Spread(n*part, i, n)
			require.Equal(t, i, int(at/part))
			differ = differ || at != first
		}
		require.True(t, differ)
	}
}

func TestAFailureOnOneSeatEndsTheOthers(t *testing.T) {
	t.Parallel()
	failed := errors.New("failed")
	ended := make(chan int, 3)
	err := pairs.Each(t.Context(), make([]pairs.Seat, 4), func(ctx context.Context, i int, _ pairs.Seat) error {
		if i == 2 {
			return failed
		}
		err := pairs.Pause(ctx, time.Hour)
		ended <- i
		return err
	})
	require.ErrorIs(t, err, failed)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, ended, 3, "all have returned")
}
