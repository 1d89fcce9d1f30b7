package shard_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/conclave-go/conclave/shard"
)

func TestAPlanInStepsHasNoMoreMovesThanOneAtOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t, 40, 7)
		limit := rapid.IntRange(1, 10).Draw(t, "limit")
		want := optimum(in)
		held := slices.Clone(in.Owners)
		total := 0
		for steps := 0; ; steps++ {
			require.Less(t, steps, 100, "it never ends")
			r := shard.Round{In: in, Held: held, Moves: limit}
			owners, moves, placed, pending, _, err := r.Next(shard.Balanced())
			require.NoError(t, err)
			require.LessOrEqual(t, moves, limit)
			require.Equal(t, placed, moved(in.Owners, owners)-moves+newly(in.Owners, owners))
			total += moves
			in.Owners, held = owners, slices.Clone(owners)
			if moves == 0 && placed == 0 {
				require.Zero(t, pending)
				break
			}
		}
		require.Equal(t, want, total)
		require.Equal(t, in.Owners, assign(t, in))
	})
}

// newly says how many shards that nobody had have an owner.
func newly(before, after []string) (n int) {
	for id, o := range before {
		if o == "" && after[id] != "" {
			n++
		}
	}
	return n
}

func TestNoMoreMovesAreUnderWayThanAllowed(t *testing.T) {
	t.Parallel()
	in := shard.Input{Shards: 10, Members: team("a", "b"), Owners: slices.Repeat([]string{"a"}, 10)}
	held := slices.Clone(in.Owners)
	owners, moves, _, pending, _, _ := shard.Round{In: in, Held: held, Moves: 2}.Next(shard.Balanced())
	require.Equal(t, 2, moves)
	require.Equal(t, 3, pending)

	in.Owners = owners
	again, moves, _, pending, underWay, _ := shard.Round{In: in, Held: held, Moves: 2}.Next(shard.Balanced())
	require.Equal(t, 2, underWay, "nothing has been handed over yet")
	require.Equal(t, owners, again)
	require.Zero(t, moves)
	require.Equal(t, 3, pending)

	held[slices.Index(owners, "b")] = "b"
	_, moves, _, pending, underWay, _ = shard.Round{In: in, Held: held, Moves: 2}.Next(shard.Balanced())
	require.Equal(t, []int{1, 1, 2}, []int{underWay, moves, pending}, "one has been, so another goes")
}

func TestShardsOfTheDeadAreGivenToOthersWhateverIsUnderWay(t *testing.T) {
	t.Parallel()
	in := shard.Input{Shards: 6, Members: team("a", "b"), Owners: []string{"a", "gone", "gone", "gone", "", "b"}}
	held := []string{"b", "gone", "gone", "", "", "b"}
	owners, moves, placed, _, underWay, err := shard.Round{In: in, Held: held, Moves: 1}.Next(shard.Balanced())
	require.NoError(t, err)
	require.Equal(t, map[string]int{"a": 3, "b": 3}, counts(owners))
	require.Equal(t, []int{0, 4, 1}, []int{moves, placed, underWay})
}

// Nobody waits for it there, and so it may stay where it is for as long as it takes.
func TestAShardThatIsToBeNobodysOrAnAbsentOnesIsNotUnderWay(t *testing.T) {
	t.Parallel()
	in := shard.Input{Shards: 8, Members: team("a", "b", "c"), Owners: []string{"", "c", "gone", "a", "a", "a", "a", "a"}}
	in.Members[2].State = shard.Absent
	held := slices.Repeat([]string{"a"}, 8)
	keep := shard.AssignFunc(func(in shard.Input) (shard.Plan, error) {
		return shard.Plan{Owners: []string{"", "c", "b", "a", "a", "b", "b", "b"}}, nil
	})
	owners, moves, placed, pending, underWay, err := shard.Round{In: in, Held: held, Moves: 2}.Next(keep)
	require.NoError(t, err)
	require.Equal(t, []string{"", "c", "b", "a", "a", "b", "b", "a"}, owners)
	require.Equal(t, []int{2, 1, 1, 0}, []int{moves, placed, pending, underWay})
}

// It is with nobody, or not with whom the last plan gave it to: nobody's work is interrupted.
func TestAShardThatItsPlannedOwnerDoesNotHaveGoesToAnotherWithoutWaitingForItsTurn(t *testing.T) {
	t.Parallel()
	in := shard.Input{Shards: 8, Members: team("a", "b"), Owners: slices.Repeat([]string{"a"}, 8)}
	held := []string{"a", "a", "a", "a", "a", "", "a", "gone"}
	owners, moves, _, pending, _, err := shard.Round{In: in, Held: held, Moves: 1}.Next(shard.Balanced())
	require.NoError(t, err)
	require.Equal(t, []string{"a", "a", "a", "a", "b", "b", "a", "b"}, owners)
	require.Equal(t, []int{3, 1}, []int{moves, pending})
}

func TestAFrozenPlanOnlyGivesWhatHasNoOwnerOrIsPinned(t *testing.T) {
	t.Parallel()
	in := shard.Input{Shards: 6, Members: team("a", "b", "c"), Owners: []string{"a", "a", "a", "a", "gone", "b"}, Pinned: map[shard.ID]string{1: "b"}}
	held := slices.Clone(in.Owners)
	owners, moves, placed, _, _, _ := shard.Round{In: in, Held: held, Moves: 9, Frozen: true}.Next(shard.Balanced())
	require.Equal(t, []string{"a", "b", "a", "a", "c", "b"}, owners)
	require.Equal(t, []int{1, 1}, []int{moves, placed})
	in.Members[0].State = shard.Leaving
	owners, _, _, _, _, _ = shard.Round{In: in, Held: held, Moves: 9, Frozen: true}.Next(shard.Balanced())
	require.Zero(t, counts(owners)["a"], "who leaves is let go")
}

func TestAnAssignerThatReturnsNonsenseIsNotHeeded(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for name, by := range map[string]shard.AssignFunc{
		"fails":          func(shard.Input) (shard.Plan, error) { return shard.Plan{}, boom },
		"panics":         func(shard.Input) (shard.Plan, error) { panic(boom) },
		"forgets shards": func(shard.Input) (shard.Plan, error) { return shard.Plan{Owners: []string{"b"}}, nil },
		"invents members": func(in shard.Input) (shard.Plan, error) {
			return shard.Plan{Owners: slices.Repeat([]string{"x"}, in.Shards)}, nil
		},
		"gives to who is going": func(in shard.Input) (shard.Plan, error) {
			return shard.Plan{Owners: slices.Repeat([]string{"c"}, in.Shards)}, nil
		},
		"spoils its input": func(in shard.Input) (shard.Plan, error) {
			clear(in.Owners)
			clear(in.Members)
			return shard.Plan{}, boom
		},
	} {
		in := shard.Input{Shards: 4, Members: team("a", "b", "c"), Owners: []string{"a", "a", "a", "gone"}}
		in.Members[2].State = shard.Leaving
		owners, _, _, _, _, err := shard.Round{In: in, Held: slices.Clone(in.Owners), Moves: 9}.Next(by)
		require.Error(t, err, name)
		require.Equal(t, []string{"a", "a", "a", "b"}, owners, name)
	}
}

func TestAnAssignerDoesNotOverruleAPin(t *testing.T) {
	t.Parallel()
	in := shard.Input{
		Shards: 4, Members: team("a", "b"), Owners: []string{"a", "a", "a", "a"}, Pinned: map[shard.ID]string{2: "b"},
	}
	all := shard.AssignFunc(func(in shard.Input) (shard.Plan, error) {
		return shard.Plan{Owners: slices.Repeat([]string{"a"}, in.Shards)}, nil
	})
	owners, _, _, _, _, err := shard.Round{In: in, Held: slices.Clone(in.Owners), Moves: 9}.Next(all)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "a", "b", "a"}, owners)
}

func TestAnAssignerMayLeaveShardsWithoutAnOwner(t *testing.T) {
	t.Parallel()
	in := shard.Input{Shards: 2, Members: team("a"), Owners: []string{"a", "a"}}
	none := shard.AssignFunc(func(in shard.Input) (shard.Plan, error) { return shard.Plan{Owners: []string{"a", ""}}, nil })
	owners, _, _, _, _, err := shard.Round{In: in, Held: slices.Clone(in.Owners), Moves: 9}.Next(none)
	require.NoError(t, err)
	require.Equal(t, []string{"a", ""}, owners)
}

func TestThePiecesOfTheLargestPlanAreSmall(t *testing.T) {
	t.Parallel()
	in := largest()
	var names []string
	for _, m := range in.Members {
		names = append(names, m.Name)
	}
	pieces := shard.EncodePlan(names, in.Owners)
	require.Greater(t, len(pieces), 1)
	for _, p := range pieces {
		require.LessOrEqual(t, len(p), 64<<10)
	}
	require.Less(t, len(pieces), 8)
}
