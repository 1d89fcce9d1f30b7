package attempt_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/bubble"
)

// server answers attempts by their number, from 1, each after a time of its own.
type server struct {
	answer func(n int) (after time.Duration, err error)

	mu      sync.Mutex
	begun   time.Time
	sent    []time.Duration // when, since the first
	out     int
	mostOut int
}

// forever is how long what never answers takes.
const forever = 1000 * time.Hour

func (s *server) try(ctx context.Context) (int, error) {
	n := s.begin()
	defer s.end()
	after, err := s.answer(n)
	select {
	case <-time.After(after):
		return n, err
	case <-ctx.Done():
		return 0, status.FromContextError(ctx.Err()).Err()
	}
}

// begin notes an attempt and returns its number.
func (s *server) begin() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sent) == 0 {
		s.begun = time.Now()
	}
	s.sent = append(s.sent, time.Since(s.begun))
	s.out++
	s.mostOut = max(s.mostOut, s.out)
	return len(s.sent)
}

func (s *server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out--
}

const patience = time.Second

// hedge makes a call of a server and returns what came of it and how long it took.
func hedge(ctx context.Context, s *server) (n int, took time.Duration, err error) {
	begun := time.Now()
	n, err = attempt.Hedge(ctx, attempt.Limits{Patience: patience}, s.try)
	return n, time.Since(begun), err
}

func TestASlowAnswerCountsHoweverLongItTakes(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		for _, roundTrip := range []time.Duration{0, patience / 2, 3 * patience, 4 * patience, 500 * patience} {
			s := &server{answer: func(int) (time.Duration, error) { return roundTrip, nil }}
			n, took, err := hedge(t.Context(), s)
			require.NoError(t, err)
			require.Equal(t, roundTrip, took)
			require.Equal(t, 1, n)
			require.LessOrEqual(t, len(s.sent), 1+int(roundTrip/patience))
			require.Zero(t, s.out, "the others have ended")
		}
	})
}

func TestTheNextAttemptGoesOutBesideOneThatIsNotAnswered(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		s := &server{answer: func(n int) (time.Duration, error) {
			if n == 1 {
				return forever, nil
			}
			return time.Millisecond, nil
		}}
		n, took, err := hedge(t.Context(), s)
		require.NoError(t, err)
		require.Equal(t, 2, n)
		require.Equal(t, patience+time.Millisecond, took)
	})
}

func TestAttemptsAreFewAndBecomeRare(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*patience)
		defer cancel()
		s := &server{answer: func(int) (time.Duration, error) { return forever, nil }}
		_, took, err := hedge(ctx, s)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "no answer in time")
		require.Equal(t, 30*patience, took)
		require.Equal(t, []time.Duration{0, 1 * patience, 2 * patience, 3 * patience, 5 * patience, 9 * patience, 17 * patience, 25 * patience}, s.sent)
		require.LessOrEqual(t, s.mostOut, 5, "four, and one on its way out")
	})
}

func TestAnAttemptThatFailsIsRepeatedAfterAPause(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		for _, firstHangs := range []bool{false, true} {
			s := &server{answer: func(n int) (time.Duration, error) {
				switch {
				case n == 1 && firstHangs:
					return forever, nil
				case n < 4:
					return 0, status.Error(codes.Unavailable, "connection refused")
				}
				return 0, nil
			}}
			n, took, err := hedge(t.Context(), s)
			require.NoError(t, err)
			require.Equal(t, 4, n)
			if firstHangs {
				took -= patience
			}
			require.Less(t, took, 250*time.Millisecond, "two or three pauses")
		}
	})
}

// A connection that was reset fails several attempts within milliseconds; then a member says nothing.
func TestAttemptsThatFailAtOnceDoNotMakeOneThatIsNotAnsweredWaitLonger(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		const failing = 8
		s := &server{answer: func(n int) (time.Duration, error) {
			switch {
			case n <= failing:
				return 0, status.Error(codes.Unavailable, "connection reset")
			case n == failing+1:
				return forever, nil
			default:
				return 0, nil
			}
		}}
		n, _, err := hedge(t.Context(), s)
		require.NoError(t, err)
		require.Equal(t, failing+2, n)
		require.Equal(t, patience, s.sent[failing+1]-s.sent[failing])
	})
}

func TestARefusalEndsTheCall(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		s := &server{answer: func(n int) (time.Duration, error) {
			if n == 1 {
				return forever, nil
			}
			return 0, errRefused
		}}
		_, took, err := hedge(t.Context(), s)
		require.ErrorIs(t, err, errRefused)
		require.Equal(t, patience, took)
	})
}

func TestTheEndOfTheContextEndsACallWithItsLastFailure(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		refused := status.Error(codes.Unavailable, "connection refused")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, took, err := hedge(ctx, &server{answer: func(int) (time.Duration, error) { return 0, refused }})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, refused)
		require.Equal(t, time.Minute, took)
	})
}

func TestACallEndsWithWhatItIsFor(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		why := errors.New("lease lost")
		until, end := context.WithCancelCause(t.Context())
		time.AfterFunc(patience/2, func() { end(why) })
		s := &server{answer: func(int) (time.Duration, error) { return forever, nil }}
		begun := time.Now()
		_, err := attempt.Hedge(t.Context(), attempt.Limits{Patience: patience, Until: until}, s.try)
		require.Equal(t, why, err)
		require.Equal(t, patience/2, time.Since(begun), "the first attempt is given up with the others")
		require.Zero(t, s.out)
	})
}

// The end is told in the background, and may be told before the call has begun.
func TestACallForWhatHasEndedSendsNothing(t *testing.T) {
	t.Parallel()
	why := errors.New("lease lost")
	until, end := context.WithCancelCause(t.Context())
	end(why)
	for range 50_000 {
		_, err := attempt.Hedge(t.Context(), attempt.Limits{Patience: patience, Until: until}, func(context.Context) (int, error) {
			t.Error("sent")
			return 0, nil
		})
		require.Equal(t, why, err)
	}
}

func TestACallWithAnEndedContextSendsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := attempt.Hedge(ctx, attempt.Limits{Patience: patience}, func(context.Context) (int, error) {
		t.Error("sent")
		return 0, nil
	})
	require.ErrorIs(t, err, context.Canceled)
}

func BenchmarkHedge(b *testing.B) {
	b.Run("beside", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = attempt.Hedge(b.Context(), attempt.Limits{Patience: patience, Until: b.Context()}, func(context.Context) (int, error) { return 0, nil })
		}
	})
	b.Run("one after the other", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = attempt.Limits{Timeout: patience, Until: b.Context()}.Do(b.Context(), func(context.Context) error { return nil })
		}
	})
}
