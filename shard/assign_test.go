package shard_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/conclave-go/conclave/shard"
)

// assign returns the owners that the default assigner chooses.
func assign(t require.TestingT, in shard.Input) []string {
	p, err := shard.Balanced().Assign(in)
	require.NoError(t, err)
	require.Len(t, p.Owners, in.Shards)
	return p.Owners
}

// team returns active members of weight 1.
func team(names ...string) []shard.MemberInfo {
	var all []shard.MemberInfo
	for _, n := range names {
		all = append(all, shard.MemberInfo{Name: n, Weight: 1})
	}
	return all
}

// counts says how many shards each has.
func counts(owners []string) map[string]int {
	n := make(map[string]int)
	for _, o := range owners {
		n[o]++
	}
	return n
}

// moved says how many shards that had an owner have another.
func moved(before, after []string) (n int) {
	for id, o := range before {
		if o != "" && o != after[id] {
			n++
		}
	}
	return n
}

// drawInput draws a group: members with weights and zones, and a plan by which shards
// are nobody's, or those of members, of whom some are gone.
func drawInput(t *rapid.T, maxShards, maxMembers int) shard.Input {
	in := shard.Input{Shards: rapid.IntRange(1, maxShards).Draw(t, "shards"), Pinned: map[shard.ID]string{}}
	n := rapid.IntRange(1, maxMembers).Draw(t, "members")
	owners := []string{"", "gone"}
	for i := range n {
		m := shard.MemberInfo{
			Name:   fmt.Sprintf("m%02d", i),
			Weight: rapid.SampledFrom([]int{0, 1, 1, 1, 2, 3, 10}).Draw(t, "weight"),
			Zone:   rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "zone"),
		}
		in.Members = append(in.Members, m)
		owners = append(owners, m.Name, m.Name)
	}
	owners = owners[:2+rapid.IntRange(0, 2*n).Draw(t, "owners")]
	for range in.Shards {
		in.Owners = append(in.Owners, rapid.SampledFrom(owners).Draw(t, "owner"))
	}
	return in
}

// share is what a member or zone of the weight may have.
type share struct{ down, up int }

func shareOf(shards, weight, total int) share {
	return share{shards * weight / total, (shards*weight + total - 1) / total}
}

func (s share) fits(n int) bool { return n == s.down || n == s.up }

// weights returns the weights of members and zones, and of all. If none has any, all
// count the same.
func weights(in shard.Input) (members, zones map[string]int, total int) {
	members, zones = map[string]int{}, map[string]int{}
	for _, m := range in.Members {
		total += m.Weight
	}
	for _, m := range in.Members {
		w := m.Weight
		if total == 0 {
			w = 1
		}
		members[m.Name] = w
		zones[m.Zone] += w
	}
	if total == 0 {
		total = len(in.Members)
	}
	return members, zones, total
}

// optimum tries every way to round the shares, and returns how many shards have to move
// from one living member to another at least.
func optimum(in shard.Input) int {
	has := counts(in.Owners)
	members, zones, total := weights(in)
	best := in.Shards
	for way := range 1 << len(in.Members) {
		sum, moves, perZone := 0, 0, map[string]int{}
		possible := true
		for i, m := range in.Members {
			s := shareOf(in.Shards, members[m.Name], total)
			quota := s.down
			if way>>i&1 == 1 {
				quota = s.up
				possible = possible && s.up != s.down
			}
			sum += quota
			perZone[m.Zone] += quota
			moves += max(0, has[m.Name]-quota)
		}
		for z, w := range zones {
			possible = possible && shareOf(in.Shards, w, total).fits(perZone[z])
		}
		if possible && sum == in.Shards {
			best = min(best, moves)
		}
	}
	return best
}

// fromLiving says how many shards move away from members that are there.
func fromLiving(in shard.Input, after []string) (n int) {
	for id, o := range in.Owners {
		alive := slices.ContainsFunc(in.Members, func(m shard.MemberInfo) bool { return m.Name == o })
		if alive && after[id] != o {
			n++
		}
	}
	return n
}

func TestSharesAreEvenAndNoFewerMovesWouldDo(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t, 40, 7)
		owners := assign(t, in)
		has := counts(owners)
		require.Zero(t, has[""], "shards without an owner")
		members, zones, total := weights(in)
		perZone := map[string]int{}
		for _, m := range in.Members {
			s := shareOf(in.Shards, members[m.Name], total)
			require.True(t, s.fits(has[m.Name]), "%s has %d of %d shards: must be %v", m.Name, has[m.Name], in.Shards, s)
			perZone[m.Zone] += has[m.Name]
		}
		for z, w := range zones {
			s := shareOf(in.Shards, w, total)
			require.True(t, s.fits(perZone[z]), "zone %s has %d of %d shards: must be %v", z, perZone[z], in.Shards, s)
		}
		require.Equal(t, optimum(in), fromLiving(in, owners), "moves")
		require.Equal(t, owners, assign(t, withOwners(in, owners)), "what is balanced stays as it is")
	})
}

func withOwners(in shard.Input, owners []string) shard.Input {
	in.Owners = owners
	return in
}

func TestTheSameInputGivesTheSamePlanWhateverTheOrderOfItsParts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t, 60, 9)
		for range rapid.IntRange(0, 3).Draw(t, "pins") {
			id := rapid.IntRange(0, in.Shards-1).Draw(t, "pinned")
			in.Pinned[shard.ID(id)] = rapid.SampledFrom(in.Members).Draw(t, "to").Name
		}
		want := assign(t, in)
		again := in
		again.Members, again.Pinned = slices.Clone(in.Members), maps.Clone(in.Pinned)
		rand.Shuffle(len(again.Members), func(i, j int) {
			again.Members[i], again.Members[j] = again.Members[j], again.Members[i]
		})
		require.Equal(t, want, assign(t, again))
	})
}

func TestPinnedShardsAreWhereTheyArePinnedAndTheOthersAreShared(t *testing.T) {
	t.Parallel()
	in := shard.Input{Shards: 12, Members: team("a", "b", "c"), Owners: make([]string, 12), Pinned: map[shard.ID]string{}}
	for id := range shard.ID(8) {
		in.Pinned[id] = "a"
	}
	owners := assign(t, in)
	require.Equal(t, map[string]int{"a": 8, "b": 2, "c": 2}, counts(owners))
	for id := range 8 {
		require.Equal(t, "a", owners[id])
	}
	in.Owners = append(slices.Repeat([]string{"a"}, 8), "b", "b", "b", "b")
	require.Equal(t, map[string]int{"a": 8, "b": 2, "c": 2}, counts(assign(t, in)), "also what was another's")
	in.Owners = make([]string, 12)
	in.Pinned = map[shard.ID]string{3: "b", 4: "nobody"}
	owners = assign(t, in)
	require.Equal(t, "b", owners[3])
	require.Equal(t, map[string]int{"a": 4, "b": 4, "c": 4}, counts(owners), "a pin within a share changes nobody's")
}

func TestWhoIsCordonedOrAbsentKeepsItsShardsAndGetsNoMore(t *testing.T) {
	t.Parallel()
	for _, state := range []shard.MemberState{shard.Cordoned, shard.Absent} {
		in := shard.Input{Shards: 10, Members: team("a", "b", "c"), Owners: []string{"a", "a", "a", "b", "b", "b", "b", "", "", ""}}
		in.Members[0].State = state
		owners := assign(t, in)
		require.Equal(t, map[string]int{"a": 3, "b": 4, "c": 3}, counts(owners), state)
		require.Zero(t, moved(in.Owners, owners), state)
	}
}

func TestAPinToWhoIsAbsentWaits(t *testing.T) {
	t.Parallel()
	in := shard.Input{Shards: 2, Members: team("a", "b"), Owners: []string{"a", "b"}, Pinned: map[shard.ID]string{1: "a"}}
	in.Members[0].State = shard.Absent
	require.Equal(t, []string{"a", "b"}, assign(t, in))
}

func TestWhoIsCordonedIsGivenShardsWhenNobodyElseCanHaveThem(t *testing.T) {
	t.Parallel()
	in := shard.Input{Shards: 4, Members: team("a", "b", "c"), Owners: []string{"a", "b", "c", "gone"}}
	in.Members[0].State, in.Members[1].State, in.Members[2].State = shard.Cordoned, shard.Leaving, shard.Absent
	require.Equal(t, []string{"a", "a", "c", "a"}, assign(t, in), "what is absent keeps its own")
	in.Members[0].State = shard.Leaving
	require.Equal(t, []string{"", "", "c", ""}, assign(t, in), "nobody is left")
}

// What gazette's allocator is tested for, by meaning: with one owner for a shard instead
// of replicas, and shares by weight instead of limits.
func TestScenariosOfAnAllocator(t *testing.T) {
	t.Parallel()
	weighted := func(weights ...int) []shard.MemberInfo {
		all := team("a1", "a2", "a3", "b1", "b2")[:len(weights)]
		for i := range all {
			all[i].Weight, all[i].Zone = weights[i], all[i].Name[:1]
		}
		return all
	}
	left := func(of []shard.MemberInfo, i int) []shard.MemberInfo {
		of[i].State = shard.Leaving
		return of
	}
	for _, c := range []struct {
		name    string
		members []shard.MemberInfo
		before  string // a letter of "pqrst" for each shard: the owner's place among the members
		shares  map[string]int
		moves   int
	}{
		{"a group begins", weighted(2, 2, 0, 4), "........", map[string]int{"a1": 2, "a2": 2, "b1": 4}, 0},
		{"a group begins, and shares are not whole", weighted(1, 1, 0, 1), ".......", map[string]int{"a1": 3, "a2": 2, "b1": 2}, 0},
		{"one that leaves is replaced by one that has come", left(weighted(1, 1, 1, 1), 0), "pppqqqsss", map[string]int{"a2": 3, "a3": 3, "b1": 3}, 3},
		{"a weight grows", weighted(3, 1), "ppppqqqq", map[string]int{"a1": 6, "a2": 2}, 2},
		{"a weight becomes smaller", weighted(1, 3), "ppppqqqq", map[string]int{"a1": 2, "a2": 6}, 2},
		{"a weight becomes smaller, and what shares were rounded by stays", weighted(10, 9), "pppqqq", map[string]int{"a1": 3, "a2": 3}, 0},
		{"two swap their weights", weighted(1, 3, 0, 2, 2), "pppqssttssttsstt"[:8], map[string]int{"a1": 1, "a2": 3, "b1": 2, "b2": 2}, 2},
		{"a zone joins", weighted(1, 1, 1, 3), "pppqqqrrrpqr", map[string]int{"a1": 2, "a2": 2, "a3": 2, "b1": 6}, 6},
		{"a zone is lost", weighted(1, 1, 1), "pppqqqrrrxxx", map[string]int{"a1": 4, "a2": 4, "a3": 4}, 0},
		{"a zone of one is as large as another of two", weighted(1, 1, 0, 2), "pppqqqssssss", map[string]int{"a1": 3, "a2": 3, "b1": 6}, 0},
		{"a member joins its zone", weighted(1, 1, 1), "pppppqqqq", map[string]int{"a1": 3, "a2": 3, "a3": 3}, 3},
		{"all but one are gone", weighted(1), "pxxxxx", map[string]int{"a1": 6}, 0},
		{"there are fewer shards than members", weighted(1, 1, 1, 1, 1), "t.", map[string]int{"a1": 1, "b2": 1}, 0},
	} {
		in := shard.Input{Shards: len(c.before), Members: c.members}
		for _, r := range c.before {
			owner := map[rune]string{'.': "", 'x': "gone"}[r]
			if r >= 'p' && r <= 't' {
				owner = []string{"a1", "a2", "a3", "b1", "b2"}[r-'p']
			}
			in.Owners = append(in.Owners, owner)
		}
		owners := assign(t, in)
		require.Equal(t, c.shares, counts(owners), c.name)
		require.Equal(t, c.moves, fromLiving(in, owners), c.name)
	}
}

func TestZonesAreLeftOutOfAccountIfToldSo(t *testing.T) {
	t.Parallel()
	in := shard.Input{Shards: 4, Members: team("a1", "a2", "a3", "b1", "b2", "b3"), Owners: []string{"a1", "a2", "a3", ""}}
	for i := range in.Members {
		in.Members[i].Zone = in.Members[i].Name[:1]
	}
	require.Equal(t, 1, fromLiving(in, assign(t, in)), "three of four are too many for half of the members")
	p, err := shard.Balanced(shard.WithoutZones()).Assign(in)
	require.NoError(t, err)
	require.Zero(t, fromLiving(in, p.Owners))
}

// largest is a group at the limits of the format, one member of which has joined just now.
func largest() shard.Input {
	in := shard.Input{Shards: shard.MaxShards}
	for i := range shard.MaxMembers {
		in.Members = append(in.Members, shard.MemberInfo{Name: fmt.Sprintf("member-%04d", i), Weight: 1 + i%3, Zone: fmt.Sprint(i % 5)})
	}
	joined := in.Members[len(in.Members)-1]
	in.Members = in.Members[:len(in.Members)-1]
	in.Owners = make([]string, in.Shards)
	p, _ := shard.Balanced().Assign(in)
	in.Owners, in.Members = p.Owners, append(in.Members, joined)
	return in
}

func TestAGroupAtTheLimitsMovesNoMoreThanTheShareOfWhoJoins(t *testing.T) {
	t.Parallel()
	in := largest()
	owners := assign(t, in)
	joined := counts(owners)[in.Members[shard.MaxMembers-1].Name]
	require.InDelta(t, 33, joined, 1)
	require.InDelta(t, joined, moved(in.Owners, owners), 40, "and what zones need")
}

func BenchmarkBalancedAtTheLimits(b *testing.B) {
	in := largest()
	for b.Loop() {
		_, err := shard.Balanced().Assign(in)
		require.NoError(b, err)
	}
}

func TestKeysAreInTheShardsThatOtherLanguagesFind(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		key              string
		ofThousand, of64 shard.ID
	}{{"", 652, 20}, {"a", 250, 10}, {"tenant-42", 200, 8}, {"日本", 331, 11}} {
		require.Equal(t, v.ofThousand, shard.Of(v.key, 1000), v.key)
		require.Equal(t, v.of64, shard.Of(v.key, 64), v.key)
	}
	require.Panics(t, func() { shard.Of("a", 0) })
}
