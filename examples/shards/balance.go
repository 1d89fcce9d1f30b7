package main

import (
	"math"
	"slices"
)

// spread says whose each series is, by its place in the list.
type spread = []string

// byRing spreads series over the shards, and those over the members.
func byRing(all []series, labels, members []string, load float64) spread {
	of, found := owners(members, load), make(spread, len(all))
	for i, s := range all {
		found[i] = of[s.shard(labels)]
	}
	return found
}

// byModulo gives a series to the member whose place among the members is the hash
// modulo their number, which is even, and as far as can be from staying put.
func byModulo(all []series, labels, members []string) spread {
	members = slices.Sorted(slices.Values(members))
	found := make(spread, len(all))
	for i, s := range all {
		found[i] = members[s.hash(labels)%uint64(len(members))]
	}
	return found
}

// loads counts what each has.
func loads(of, members []string) map[string]int {
	counts := make(map[string]int)
	for _, m := range members {
		counts[m] = 0
	}
	for _, m := range of {
		counts[m]++
	}
	return counts
}

// deviation is by how much the load furthest from the mean differs from that, as a
// share of it.
func deviation(of, members []string) float64 {
	mean, most := float64(len(of))/float64(len(members)), 0.0
	for _, n := range loads(of, members) {
		most = max(most, math.Abs(float64(n)-mean)/mean)
	}
	return most
}

// moved is the share that has changed hands.
func moved(before, after []string) float64 {
	n := 0
	for i := range before {
		if before[i] != after[i] {
			n++
		}
	}
	return float64(n) / float64(len(before))
}
