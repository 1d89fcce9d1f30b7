package shard_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/shard"
)

func TestOneMemberOwnsAllAndGivesAllBack(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 16)
		a := f.join("a")
		require.NoError(t, a.Ready(t.Context()))
		require.Len(t, a.Owned(), 16)
		require.Equal(t, 16, a.Shards())
		require.NoError(t, a.Err())
		began := time.Now()
		a.stop()
		require.Less(t, time.Since(began), time.Second, "nobody is waited for if there is nobody")
		require.Empty(t, a.Owned())
		require.ErrorIs(t, a.Err(), shard.ErrClosed)
		require.ErrorIs(t, a.Ready(t.Context()), shard.ErrClosed)
		require.ErrorIs(t, a.Drain(t.Context()), shard.ErrClosed)
		require.Empty(t, entries(t, s.Client(), 3))
	})
}

func TestMembersThatComeAndGoMoveNoMoreThanTheirShareAndLeaveNoGap(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 60)
		a, b := f.join("a"), f.join("b")
		require.NoError(t, a.Ready(t.Context()))
		require.NoError(t, b.Ready(t.Context()))
		two := f.settled()
		require.Equal(t, map[string]int{"a": 30, "b": 30}, counts(two))

		since := revision(t, s.Client())
		c := f.join("c")
		require.NoError(t, c.Ready(t.Context()))
		three := f.settled()
		require.Equal(t, map[string]int{"a": 20, "b": 20, "c": 20}, counts(three))
		require.Equal(t, 20, moved(two, three))
		without, all := gaps(t, s.Client(), since)
		require.Equal(t, []int{0, 20}, []int{without, all}, "gaps in hand-overs")

		since = revision(t, s.Client())
		a.stop()
		again := f.settled()
		require.Equal(t, map[string]int{"b": 30, "c": 30}, counts(again))
		require.Equal(t, 20, moved(three, again))
		without, all = gaps(t, s.Client(), since)
		require.Equal(t, []int{0, 20}, []int{without, all}, "gaps in hand-overs")
		stopAll(b, c)
	})
}

func TestACrashedMembersShardsAreOwnedAgainWithinTheTTLAndASecond(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 60)
		a, b, c := f.join("a"), f.join("b"), f.join("c")
		f.settled()
		for _, crashed := range []*peer{a, b} { // one of them plans
			crashed.cut.Cut()
			at := time.Now()
			vtime.Sleep(ttl + time.Second)
			require.NotContains(t, f.ledger.owners(60), "", "%v after the crash", time.Since(at))
			require.Zero(t, counts(f.ledger.owners(60))[crashed.Name()])
			crashed.cut.Heal()
			require.NoError(t, crashed.Ready(t.Context()))
			require.Equal(t, map[string]int{"a": 20, "b": 20, "c": 20}, counts(f.settled()), "it is back")
		}
		stopAll(a, b, c)
	})
}

func TestAFunctionThatDoesNotReturnInTimeLosesItsShardAndNoneIsCalledBesideIt(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 2)
		stuck, ended := make(chan struct{}), make(chan error, 2)
		var calls atomic.Int32
		a := f.joinWith("a", func(ctx context.Context, o *shard.Ownership) error {
			f.ledger.begin("a", o)
			calls.Add(1)
			<-ctx.Done()
			ended <- context.Cause(ctx)
			<-stuck
			return nil
		}, shard.WithDrainTimeout(3*time.Second))
		require.NoError(t, a.Ready(t.Context()))
		b := f.join("b")
		require.Equal(t, map[string]int{"a": 1, "b": 1}, counts(f.settled()))
		err := <-ended
		require.ErrorIs(t, err, shard.ErrDrainTimeout)
		require.ErrorIs(t, err, shard.ErrLost)

		b.stop()
		require.Equal(t, map[string]int{"a": 1, "": 1}, counts(f.settled()), "the function runs still")
		require.EqualValues(t, 2, calls.Load())
		close(stuck)
		require.Equal(t, map[string]int{"a": 2}, counts(f.settled()))
		require.EqualValues(t, 3, calls.Load())
		a.stop()
	})
}

// The planner does not hear of it, and plans with the member still.
func TestWhoDrainsTakesNothingThatAPlanGivesIt(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		const drain = 3 * time.Second
		f := newFleet(t, s, 4)
		a, b := f.join("a"), f.join("b", shard.WithDrainTimeout(drain))
		require.Equal(t, map[string]int{"a": 2, "b": 2}, counts(f.settled()))
		remove := b.onPut("/b", func(context.Context, any, func() error) error {
			return status.Error(codes.Unavailable, "lost")
		})
		drained := make(chan error, 1)
		go func() { drained <- b.Drain(t.Context()) }()
		vtime.Advance(time.Second)
		before := f.plan().Version
		c := f.join("c")
		vtime.Advance(drain + time.Second)
		require.Greater(t, f.plan().Version, before)
		require.Positive(t, f.plan().Members[1].Planned)
		require.Empty(t, b.Owned())
		remove()
		require.NoError(t, <-drained)
		stopAll(a, b, c)
	})
}
