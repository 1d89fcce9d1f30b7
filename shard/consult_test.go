package shard_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/shard"
)

func TestAGroupWhoseAssignerHangsGoesOnAndHeedsItOnceItReturns(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 6)
		var hangs atomic.Bool
		var calls atomic.Int32
		var told atomic.Value
		stuck := make(chan struct{})
		slow := shard.AssignFunc(func(in shard.Input) (shard.Plan, error) {
			calls.Add(1)
			if hangs.Load() {
				<-stuck
			}
			return shard.Balanced().Assign(in)
		})
		a := f.join("a", shard.WithAssigner(slow), shard.WithObserver(shard.Observer{Planned: func(e shard.PlanEvent) {
			if e.Err != nil {
				told.Store(e.Err)
			}
		}}))
		f.settled()
		b := f.join("b")
		require.Equal(t, map[string]int{"a": 3, "b": 3}, counts(f.settled()))
		hangs.Store(true)
		before := calls.Load()
		b.cut.Cut() // it crashes
		c := f.join("c")
		vtime.Advance(ttl + time.Second)
		require.Equal(t, map[string]int{"a": 3, "c": 3}, counts(f.settled()), "the dead one's are given to who has least")
		require.EqualValues(t, before+1, calls.Load(), "it is not called again before it has returned")
		err, _ := told.Load().(error)
		require.ErrorContains(t, err, "assigner has not returned within 5s")

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorContains(t, a.Close(ctx), "functions of shards [] and the assigner have not returned")
		close(stuck)
		require.NoError(t, a.Close(t.Context()))
		require.NoError(t, a.session.Close(t.Context()))
		b.cut.Heal()
		stopAll(b, c)
	})
}

func TestAnAssignerThatIsLateIsAskedAgain(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 6)
		var late atomic.Bool
		a := f.join("a", shard.WithAssigner(shard.AssignFunc(func(in shard.Input) (shard.Plan, error) {
			if late.Swap(false) {
				vtime.Sleep(8 * time.Second)
			}
			return shard.Balanced().Assign(in)
		})))
		f.settled()
		late.Store(true)
		b := f.join("b")
		vtime.Advance(6 * time.Second)
		require.Equal(t, map[string]int{"a": 6}, counts(f.ledger.owners(6)), "all keep what they have")
		vtime.Advance(6 * time.Second)
		require.Equal(t, map[string]int{"a": 3, "b": 3}, counts(f.settled()))
		stopAll(a, b)
	})
}

func TestAnAssignerThatEndsItsGoroutineIsAskedAgain(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 6)
		var ends atomic.Bool
		var told atomic.Value
		a := f.join("a", shard.WithAssigner(shard.AssignFunc(func(in shard.Input) (shard.Plan, error) {
			if ends.Load() {
				runtime.Goexit()
			}
			return shard.Balanced().Assign(in)
		})), shard.WithObserver(shard.Observer{Planned: func(e shard.PlanEvent) {
			if e.Err != nil {
				told.Store(e.Err)
			}
		}}))
		f.settled()
		ends.Store(true)
		b := f.join("b")
		vtime.Advance(time.Second)
		err, _ := told.Load().(error)
		require.ErrorContains(t, err, "function has ended its goroutine")
		ends.Store(false)
		require.NoError(t, shard.Thaw(t.Context(), s.Client(), group))
		c := f.join("c")
		require.Equal(t, map[string]int{"a": 2, "b": 2, "c": 2}, counts(f.settled()))
		stopAll(a, b, c)
	})
}
