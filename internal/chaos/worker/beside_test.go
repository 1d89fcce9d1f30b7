package worker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/chaos/worker"
)

func TestWhatTakesTooLongIsDoneAgainBesideUntilOneAttemptSucceeds(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		began, calls := time.Now(), make(chan int, 3)
		for i := range cap(calls) {
			calls <- i
		}
		got, attempts, err := worker.Beside(t.Context(), time.Second, func(ctx context.Context) (int, error) {
			switch i := <-calls; i {
			case 0:
				<-ctx.Done() // never answers
				return 0, ctx.Err()
			case 1:
				return 0, errors.New("refused")
			default:
				return i, nil
			}
		})
		require.NoError(t, err)
		require.Equal(t, 2, got)
		require.Equal(t, 3, attempts)
		require.Equal(t, time.Second+10*time.Millisecond, time.Since(began))
	})
}

func TestWhatIsDoneBesideEndsWithItsContext(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		refused := errors.New("refused")
		_, _, err := worker.Beside(ctx, time.Second, func(context.Context) (int, error) { return 0, refused })
		require.ErrorIs(t, err, refused)
		_, _, err = worker.Beside(ctx, time.Second, func(context.Context) (int, error) { return 0, refused })
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}
