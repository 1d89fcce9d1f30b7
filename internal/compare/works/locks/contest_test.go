package locks_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/compare/works/locks"
)

const (
	held   = 10 * time.Millisecond
	window = time.Second
)

func TestHandOversFromOneContenderToAnotherAreCounted(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		turn := locks.Channel()
		slow := func(ctx context.Context) (locks.Release, error) {
			leave, err := turn(ctx)
			return func(ctx context.Context) error {
				<-time.After(held) // an Unlock that takes as long as it is held
				return leave(ctx)
			}, err
		}
		samples, err := locks.Contest(t.Context(), held, window, nil, []locks.Contender{slow, slow, slow})
		require.NoError(t, err)
		const grants = float64(window / (2 * held))
		require.InDelta(t, grants, samples["throughput"][0], 1)
		require.InDelta(t, grants, len(samples["hand-over"]), 2)
		for _, took := range samples["hand-over"] {
			require.InDelta(t, 10, took, 0.001, "ms")
		}
	})
}

func TestTakingALockAgainIsNoHandOver(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		samples, err := locks.Contest(t.Context(), held, window, nil, []locks.Contender{locks.Channel()})
		require.NoError(t, err)
		require.InDelta(t, float64(window/held), samples["throughput"][0], 1)
		require.Empty(t, samples["hand-over"])
	})
}

func TestAContestFailsIfTheLockDoesNotExclude(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		_, err := locks.Contest(t.Context(), held, window, nil, []locks.Contender{locks.Channel(), locks.Channel()})
		require.ErrorIs(t, err, locks.ErrTwo)
	})
}

func TestAContestFailsWithAContender(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		turn := locks.Channel()
		failing := func(ctx context.Context) (locks.Release, error) {
			_, err := turn(ctx) // which it never releases
			return func(context.Context) error { return refused }, err
		}
		_, err := locks.Contest(t.Context(), held, window, nil, []locks.Contender{turn, failing, turn})
		require.ErrorIs(t, err, refused)
	})
}

func TestAContestBeginsWhenAllHaveQueued(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		const late = time.Minute / 2
		began := time.Now()
		var first []time.Duration
		turn := locks.Channel()
		noting := func(ctx context.Context) (locks.Release, error) {
			leave, err := turn(ctx)
			first = append(first, time.Since(began))
			return leave, err
		}
		queued := func(context.Context) error { <-time.After(late); return nil }
		samples, err := locks.Contest(t.Context(), held, window, queued, []locks.Contender{noting, noting})
		require.NoError(t, err)
		require.Zero(t, first[0])
		require.Equal(t, late, first[1], "nobody else before")
		require.InDelta(t, float64(window/held), samples["throughput"][0], 1, "the wait does not count")
	})
}

func TestOtherWritesAreSteadyWhateverAWriteTakes(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), window)
		defer cancel()
		due := make(chan int)
		n := make(chan int)
		go func() {
			var got int
			for range due {
				if got++; got == 1 {
					<-time.After(window / 2) // those that are due meanwhile come after it
				}
			}
			n <- got
		}()
		locks.Pace(ctx, due)
		close(due)
		require.InDelta(t, locks.LoadRate, <-n, 1)
	})
}
