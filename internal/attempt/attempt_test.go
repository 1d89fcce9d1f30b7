package attempt_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/suite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(suite.Of(m)) }

var errRefused = status.Error(codes.PermissionDenied, "no")

func TestErrorsAreToldApart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name                 string
		err                  error
		code                 codes.Code
		transient, uncertain bool
	}{
		{"broken connection", status.Error(codes.Unavailable, "eof"), codes.Unavailable, true, true},
		{"no leader", rpctypes.ErrNoLeader, codes.Unavailable, true, false},
		{"no leader, as sent", rpctypes.ErrGRPCNoLeader, codes.Unavailable, true, false},
		{"timed out on the server", rpctypes.ErrTimeout, codes.Unavailable, true, true},
		{"gRPC deadline", status.Error(codes.DeadlineExceeded, "late"), codes.DeadlineExceeded, true, true},
		{"internal", status.Error(codes.Internal, "stream"), codes.Internal, true, true},
		{"aborted", status.Error(codes.Aborted, "x"), codes.Aborted, true, true},
		{"too many requests", rpctypes.ErrTooManyRequests, codes.ResourceExhausted, true, false},
		{"no space", rpctypes.ErrNoSpace, codes.ResourceExhausted, false, true},
		{"no space, wrapped", fmt.Errorf("put: %w", rpctypes.ErrNoSpace), codes.ResourceExhausted, false, true},
		{"request larger than the client sends", status.Error(codes.ResourceExhausted, "trying to send message larger than max (3 vs. 2)"), codes.ResourceExhausted, false, false},
		{"answer larger than the client takes", status.Error(codes.ResourceExhausted, "grpc: received message larger than max (3 vs. 2)"), codes.ResourceExhausted, false, true},
		{"request larger than the server takes", rpctypes.ErrRequestTooLarge, codes.InvalidArgument, false, false},
		{"a learner", rpctypes.ErrGRPCNotSupportedForLearner, codes.FailedPrecondition, true, false},
		{"expired token", rpctypes.ErrInvalidAuthToken, codes.Unauthenticated, true, false},
		{"permissions changed", rpctypes.ErrAuthOldRevision, codes.InvalidArgument, true, false},
		{"permission denied", rpctypes.ErrPermissionDenied, codes.PermissionDenied, false, false},
		{"permission denied, as sent", errRefused, codes.PermissionDenied, false, false},
		{"lease not found", rpctypes.ErrLeaseNotFound, codes.NotFound, false, false},
		{"bad request", rpctypes.ErrTooManyOps, codes.InvalidArgument, false, false},
		{"closed client", status.Error(codes.Canceled, "the client connection is closing"), codes.Canceled, false, true},
		{"cancelled", context.Canceled, codes.Canceled, false, true},
		{"proposal dropped", status.Error(codes.Unknown, "raft proposal dropped"), codes.Unknown, true, true},
		{"a removed member", status.Error(codes.Unknown, "raft: stopped"), codes.Unknown, true, true},
		{"something else", errors.New("x"), codes.Unknown, false, true},
	} {
		require.Equal(t, tt.transient, attempt.Transient(tt.err), "transient: %s", tt.name)
		require.Equal(t, tt.uncertain, attempt.Uncertain(tt.err), "uncertain: %s", tt.name)
		if !errors.Is(tt.err, context.Canceled) {
			require.Equal(t, tt.code, attempt.Code(tt.err), "code: %s", tt.name)
		}
	}
}

func TestWhatIsGivenUpIsUncertainWhateverTheLastAttemptSaid(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.True(t, attempt.Uncertain(attempt.Ended(ctx, rpctypes.ErrNoLeader)))
}

func TestATryWithoutAnAnswerCostsOneTimeoutAndIsRepeated(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		begin := time.Now()
		tries := 0
		err := attempt.Do(t.Context(), time.Second, func(ctx context.Context) error {
			if tries++; tries == 1 {
				<-ctx.Done()
				return status.FromContextError(ctx.Err()).Err() // as gRPC does
			}
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, 2, tries)
		require.InDelta(t, time.Since(begin), time.Second+20*time.Millisecond, float64(5*time.Millisecond))
	})
}

func TestFailuresAreRepeatedWithGrowingPauses(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		var at []time.Time
		err := attempt.Do(t.Context(), time.Second, func(context.Context) error {
			if at = append(at, time.Now()); len(at) < 12 {
				return rpctypes.ErrNoLeader
			}
			return nil
		})
		require.NoError(t, err)
		want := 20 * time.Millisecond
		for i := 1; i < len(at); i++ {
			require.InDelta(t, want, at[i].Sub(at[i-1]), float64(want)/4, "pause %d", i)
			want = min(2*want, time.Second)
		}
	})
}

func TestARefusalIsNotRepeated(t *testing.T) {
	t.Parallel()
	tries := 0
	err := attempt.Do(t.Context(), time.Second, func(context.Context) error { tries++; return errRefused })
	require.Equal(t, errRefused, err)
	require.Equal(t, 1, tries)
}

func TestDoReturnsWithTheContextAndTheLastFailure(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		begin := time.Now()
		err := attempt.Do(ctx, time.Second, func(context.Context) error { return rpctypes.ErrNoLeader })
		require.Equal(t, 100*time.Millisecond, time.Since(begin))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, rpctypes.ErrNoLeader)
	})
}

func TestDoReturnsAtOnceWhenTheContextEndsDuringATry(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		why := errors.New("why")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(why) })
		begin := time.Now()
		err := attempt.Do(ctx, time.Hour, func(ctx context.Context) error {
			<-ctx.Done()
			return status.FromContextError(ctx.Err()).Err()
		})
		require.Equal(t, time.Minute, time.Since(begin))
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, why)
	})
}

func TestDoEndsWithItsOtherLimit(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context) error {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}
	fail := func(context.Context) error { return rpctypes.ErrNoLeader }
	for name, try := range map[string]func(context.Context) error{"during a try": hang, "during a pause": fail} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble.Test(t, func(t *testing.T) {
				until, end := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Minute+time.Millisecond, func() { end(errors.New("over")) })
				begin := time.Now()
				err := attempt.Limits{Timeout: time.Hour, Until: until}.Do(t.Context(), try)
				require.Error(t, err)
				require.Equal(t, time.Minute+time.Millisecond, time.Since(begin))
			})
		})
	}
}

func TestDoWithAnotherLimitStillEndsWithItsContext(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		err := attempt.Limits{Timeout: time.Second, Until: t.Context()}.Do(ctx, func(context.Context) error { return rpctypes.ErrNoLeader })
		require.Equal(t, time.Minute, time.Since(begin))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, rpctypes.ErrNoLeader)
	})
}

func TestASuccessCountsEvenIfTheContextEndedMeanwhile(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, attempt.Do(ctx, time.Second, func(context.Context) error { cancel(); return nil }))
}

func TestPauseSaysWhetherToGoOn(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		begin := time.Now()
		require.True(t, attempt.Pause(t.Context(), time.Minute))
		require.InDelta(t, time.Minute, time.Since(begin), float64(15*time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begin = time.Now()
		require.False(t, attempt.Pause(ctx, time.Minute))
		require.Zero(t, time.Since(begin))
	})
}

func TestEndedNamesContextCauseAndLastFailure(t *testing.T) {
	t.Parallel()
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	err := attempt.Ended(ctx, errRefused)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, why)
	require.ErrorIs(t, err, errRefused)

	plain, cancelPlain := context.WithCancel(t.Context())
	cancelPlain()
	require.Equal(t, context.Canceled, attempt.Ended(plain, nil))
	require.Equal(t, context.Canceled, attempt.Ended(plain, context.Canceled), "the same is not said twice")
}
