package shard_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/shard"
)

func TestAFrozenGroupMovesNothingThatHasALivingOwner(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 6)
		a, b := f.join("a"), f.join("b")
		before := f.settled()
		require.NoError(t, shard.Freeze(t.Context(), s.Client(), group))
		c := f.join("c")
		require.NoError(t, c.Ready(t.Context()), "it is in the plan, with nothing")
		require.Equal(t, before, f.settled())
		status, err := shard.Inspect(t.Context(), s.Client(), group)
		require.NoError(t, err)
		require.True(t, status.Frozen)

		require.NoError(t, shard.Move(t.Context(), s.Client(), group, 0, "c"))
		require.Equal(t, "c", f.settled()[0], "but by hand")
		b.stop()
		require.NotContains(t, f.settled(), "", "and who leaves is let go")
		require.NoError(t, shard.Move(t.Context(), s.Client(), group, 0, ""))
		require.NoError(t, shard.Thaw(t.Context(), s.Client(), group))
		require.Equal(t, map[string]int{"a": 3, "c": 3}, counts(f.settled()))
		stopAll(a, c)
	})
}

func TestAShardMovedByHandStaysThereUntilItIsGivenBack(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 6)
		a, b := f.join("a"), f.join("b")
		before := f.settled()
		for id, owner := range before {
			if owner == "a" {
				require.NoError(t, shard.Move(t.Context(), s.Client(), group, shard.ID(id), "b"))
			}
		}
		after := f.settled()
		require.Equal(t, map[string]int{"b": 3, "a": 3}, counts(after), "the others are shared")
		for id, owner := range before {
			require.NotEqual(t, owner, after[id])
		}
		c := f.join("c")
		third := f.settled()
		for id, owner := range before {
			if owner == "a" {
				require.Equal(t, "b", third[id], "pinned")
			}
		}
		stopAll(a, b, c)
	})
}

func TestWhoIsCordonedGetsNothingAndWhoIsEvacuatedLosesAll(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 6)
		a := f.join("a")
		f.settled()
		require.NoError(t, shard.Cordon(t.Context(), s.Client(), group, "b"))
		b := f.join("b")
		require.Equal(t, map[string]int{"a": 6}, counts(f.settled()))
		require.NoError(t, shard.Uncordon(t.Context(), s.Client(), group, "b"))
		require.Equal(t, map[string]int{"a": 3, "b": 3}, counts(f.settled()))
		require.NoError(t, shard.Cordon(t.Context(), s.Client(), group, "b"))
		c := f.join("c")
		require.Equal(t, 3, counts(f.settled())["b"], "it keeps what it has")
		require.NoError(t, shard.Evacuate(t.Context(), s.Client(), group, "b"))
		require.Equal(t, map[string]int{"a": 3, "c": 3}, counts(f.settled()))
		status, err := shard.Inspect(t.Context(), s.Client(), group)
		require.NoError(t, err)
		require.Equal(t, shard.Leaving, status.Members[1].State)
		require.NoError(t, shard.Evacuate(t.Context(), s.Client(), group, "a"))
		require.NoError(t, shard.Evacuate(t.Context(), s.Client(), group, "c"))
		require.NotContains(t, f.settled(), "", "there is nobody else to have them")
		for _, one := range f.plan().Shards {
			require.NotEmpty(t, one.Planned)
		}
		stopAll(a, b, c)
	})
}

func TestInspectShowsAllOfAGroup(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 4)
		a := f.join("a", shard.WithValue("host-a"), shard.WithZone("z"), shard.WithWeight(3))
		b := f.join("b")
		owners := f.settled()
		require.NoError(t, shard.Freeze(t.Context(), s.Client(), group))
		require.NoError(t, shard.Move(t.Context(), s.Client(), group, 3, owners[3]))
		vtime.Advance(time.Second)
		status, err := shard.Inspect(t.Context(), s.Client(), group)
		require.NoError(t, err)
		require.Equal(t, []any{group, "a", true, nil}, []any{status.Group, status.Planner, status.Frozen, status.PlanError})
		require.Positive(t, status.Version)
		require.Len(t, status.Members, 2)
		require.Equal(t, shard.MemberInfo{Name: "a", Value: "host-a", Zone: "z", Weight: 3}, status.Members[0].MemberInfo)
		require.Equal(t, []int{3, 3}, []int{status.Members[0].Owned, status.Members[0].Planned})
		require.NotZero(t, status.Members[0].Lease)
		for id, one := range status.Shards {
			require.Equal(t, []string{owners[id], owners[id]}, []string{one.Owner, one.Planned})
			require.Equal(t, f.ledger.last[shard.ID(id)].Token(), one.Token)
			require.False(t, one.Moving())
		}
		require.Equal(t, owners[3], status.Shards[3].Pinned)
		stopAll(a, b)
	})
}

func TestWishesForWhatIsNotThereAreRefused(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		ctx, client := t.Context(), s.Client()
		_, err := shard.Inspect(ctx, client, group)
		require.ErrorContains(t, err, `there is no group "jobs"`)
		for _, err := range []error{
			shard.Freeze(ctx, client, group), shard.Thaw(ctx, client, group), shard.Cordon(ctx, client, group, "a"),
			shard.Evacuate(ctx, client, group, "a"), shard.Uncordon(ctx, client, group, "a"),
			shard.Move(ctx, client, group, 0, "a"), shard.Move(ctx, client, group, 0, ""),
		} {
			require.ErrorContains(t, err, `there is no such group: nobody has joined it (group "jobs")`)
		}
		f := newFleet(t, s, 4)
		a := f.join("a")
		require.ErrorContains(t, shard.Move(ctx, client, group, 4, "a"), `group "jobs" has no shard 4: must be below 4`)
		require.ErrorContains(t, shard.Move(ctx, client, group, 3, "x"), `group "jobs" has no member "x"`)
		require.ErrorContains(t, shard.Cordon(ctx, client, group, "a/b"), `member name "a/b"`)
		require.ErrorContains(t, shard.Freeze(ctx, nil, group), "client is nil")
		a.stop()
	})
}
