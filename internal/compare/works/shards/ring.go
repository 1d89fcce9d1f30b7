package shards

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"
)

// points is how often a member is on a ring, as with dskit.
const points = 128

// ring is a hash ring.
type ring struct {
	at    []uint64 // where there is somebody, in order
	owner map[uint64]string
}

// newRing puts members on a ring.
func newRing(members []string) ring {
	r := ring{owner: make(map[uint64]string)}
	for _, m := range slices.Sorted(slices.Values(members)) {
		for n := range points {
			at := hash(m + "#" + strconv.Itoa(n))
			r.at = append(r.at, at)
			r.owner[at] = m
		}
	}
	slices.Sort(r.at)
	return r
}

// owners returns whose each shard is: the next on the ring.
func (r ring) owners(shards int) []string {
	all := make([]string, shards)
	for id := range all {
		if len(r.at) > 0 {
			i, _ := slices.BinarySearch(r.at, hash("shard "+strconv.Itoa(id)))
			all[id] = r.owner[r.at[i%len(r.at)]]
		}
	}
	return all
}

// hash is FNV-1a, of which the last bytes of short texts change too little, mixed once
// more.
func hash(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text)) // it never fails
	first := h.Sum(nil)
	_, _ = h.Write(first)
	_, _ = h.Write(first)
	return binary.BigEndian.Uint64(h.Sum(nil)) * 0x9e3779b97f4a7c15
}

// duties are the shards that a member serves.
type duties struct {
	serve func(ctx context.Context, shard int)
	ends  []context.CancelFunc // of those that it serves
	all   sync.WaitGroup
}

// set begins or ends to serve a shard.
func (d *duties) set(ctx context.Context, shard int, mine bool) {
	switch {
	case mine && d.ends[shard] == nil:
		ctx, d.ends[shard] = context.WithCancel(ctx)
		d.all.Go(func() { d.serve(ctx, shard) })
	case !mine && d.ends[shard] != nil:
		d.ends[shard]()
		d.ends[shard] = nil
	}
}
