package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/buraksezer/consistent"
	"github.com/cespare/xxhash/v2"
)

const (
	// shards is how many there are, for good: a key stays in its shard whoever owns it.
	shards = 67
	// replicas is how often a member is on the ring. With fewer, shares differ more.
	replicas = 200
)

// name is that of a member, on the ring.
type name string

// String returns the name.
func (n name) String() string { return string(n) }

type hasher struct{}

// Sum64 is a hash that is the same in every process, unlike that of hash/maphash.
func (hasher) Sum64(b []byte) uint64 { return xxhash.Sum64(b) }

// owners says whose each shard is. It depends on nothing but who is a member, so all
// who know the same members come to the same result without a word to each other.
func owners(members []string, load float64) []string {
	found := make([]string, shards)
	if len(members) == 0 {
		return found
	}
	var on []consistent.Member
	for _, m := range slices.Sorted(slices.Values(members)) {
		on = append(on, name(m))
	}
	ring := consistent.New(on, consistent.Config{
		Hasher: hasher{}, PartitionCount: shards, ReplicationFactor: replicas, Load: load,
	})
	for i := range found {
		found[i] = ring.GetPartitionOwner(i).String()
	}
	return found
}

// series is something to be measured, known by its labels.
type series map[string]string

// labelNames are the labels that a series has.
func labelNames() []string { return []string{"tenant", "metric", "host"} }

// allSeries returns those that there are to be measured.
func allSeries() []series {
	var all []series
	for tenant := range 40 {
		for metric := range 25 {
			for host := range 10 {
				all = append(all, series{
					"tenant": fmt.Sprintf("t%d", tenant), "metric": fmt.Sprintf("m%d", metric), "host": fmt.Sprintf("h%d", host),
				})
			}
		}
	}
	return all
}

// hash hashes the chosen labels, and no others: series that differ in others stay
// together, for whoever has to see them together.
func (s series) hash(labels []string) uint64 {
	var d xxhash.Digest
	d.Reset()
	for _, l := range labels {
		// It never fails. The zero byte keeps "ab", "c" and "a", "bc" apart.
		_, _ = d.WriteString(s[l] + "\x00")
	}
	return d.Sum64()
}

// shard returns where a series belongs.
func (s series) shard(labels []string) int { return int(s.hash(labels) % shards) }

// chosen writes the chosen labels: "tenant t0, metric m0".
func (s series) chosen(labels []string) string {
	var parts []string
	for _, l := range labels {
		parts = append(parts, l+" "+s[l])
	}
	return strings.Join(parts, ", ")
}
