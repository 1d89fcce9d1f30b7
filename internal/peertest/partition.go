package peertest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/conclave-go/conclave/internal/vtime"
)

// serverTick is how often etcd looks for expired leases.
const serverTick = 500 * time.Millisecond

// CutWay is a way in which a client can be cut off.
type CutWay struct {
	Name string
	Cut  func(*vtime.Cut)
}

// CutWays returns all of them.
func CutWays() []CutWay {
	return []CutWay{
		{"off", (*vtime.Cut).Cut},
		{"to the server", (*vtime.Cut).CutToServer},
		{"to the client", (*vtime.Cut).CutToClient},
		{"off, held", (*vtime.Cut).Hold},
		{"to the server, held", (*vtime.Cut).HoldToServer},
		{"to the client, held", (*vtime.Cut).HoldToClient},
	}
}

// Partition is one way in which who holds a lock or leads is cut off, for longer than its
// lease lasts, drawn from a seed.
type Partition struct {
	Seed   uint64
	TTL    time.Duration
	Way    CutWay
	Phase  time.Duration // of the holder's start, relative to the server's tick
	Age    time.Duration // of the hold when the rival comes
	Queued time.Duration // for which the rival has waited when the cut comes
	Lasts  time.Duration
	Drag   time.Duration // the most that one of the holder's messages takes
}

// DrawPartition draws a partition. The TTLs and the ways take turns.
func DrawPartition(seed uint64) Partition {
	draw := rand.New(rand.NewPCG(seed, 2))
	upTo := func(d time.Duration) time.Duration { return time.Duration(draw.Int64N(int64(d))) }
	ttls := []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}
	ways := CutWays()
	ttl, way := ttls[seed%uint64(len(ttls))], ways[seed%uint64(len(ways))]
	return Partition{
		Seed: seed, TTL: ttl, Way: way,
		Phase: upTo(serverTick), Age: upTo(2 * ttl), Queued: upTo(2 * ttl), Lasts: ttl + upTo(2*ttl), Drag: upTo(ttl / 25),
	}
}

// String describes it, for who wants to see it again.
func (p Partition) String() string {
	return fmt.Sprintf("seed %d: TTL %v, cut %s for %v after %v and %v, messages take up to %v",
		p.Seed, p.TTL, p.Way.Name, p.Lasts, p.Age, p.Queued, p.Drag)
}
