package watchlab

import (
	"time"
)

// Plan is a bout with all its choices made: who is there, what is written and which
// faults come. It is a function of its seed.
type Plan struct {
	Seed    uint64
	Members int
	// TokenTTL is that of users, who have to log in unless it is 0.
	TokenTTL time.Duration
	Writers  int
	Value    int // the largest value, in bytes
	Peers    []PeerPlan
	Rounds   []RoundPlan
	// Storm leaves the faults of the last round on while everybody leaves.
	Storm bool
}

// PeerPlan is a client with a network of its own, and who shares it.
type PeerPlan struct {
	Inside  bool          // in a namespace
	Limit   int           // the largest message it takes, 0 for any
	Rate    int           // bytes a second from each member, 0 for any
	Delay   time.Duration // from each member
	Streams []StreamPlan
	Caches  []CachePlan
	Foreign []ForeignPlan
}

// Range is which keys are watched.
type Range string

// The ranges.
const (
	All   Range = "all"   // everything that is written
	Part  Range = "part"  // a part of it
	One   Range = "one"   // a single key
	Quiet Range = "quiet" // where nothing is written
)

// StreamPlan is a stream and who consumes it.
type StreamPlan struct {
	Range    Range
	Snapshot bool
	Conflate bool
	Buffer   int
	Stall    time.Duration
	Slow     time.Duration // what the consumer takes for an event
	// Leaves is the number of batches after which the consumer leaves the loop and goes on
	// with a stream from the revision it has, 0 for never.
	Leaves int
	Round  int // in which it comes
}

// CachePlan is a cache and who uses it.
type CachePlan struct {
	Range     Range
	Buffer    int
	Stall     time.Duration
	Waiters   int           // goroutines that wait for revisions
	Changes   bool          // somebody follows the changes
	Slow      time.Duration // what that takes for a change
	Reconcile int           // workers, 0 for none
	Round     int           // in which it comes
}

// ForeignPlan is a watch of clientv3's on the same client.
type ForeignPlan struct {
	From     From
	Leader   bool
	Fragment bool
	PrevKV   bool
	Progress bool
	Ask      time.Duration // between its own requests for progress, 0 for none
	Lives    time.Duration // until it is opened anew
}

// From is where a foreign watch begins.
type From string

// Where foreign watches begin.
const (
	Now    From = "now"
	Past   From = "past"
	Future From = "future"
)

// RoundPlan is a time of writes and faults. It begins when everybody has everything.
type RoundPlan struct {
	Writes  int           // of each writer
	Pause   time.Duration // between them, at most
	Strikes []Strike
	// Through is a fault of one member of three that is over only when everybody has come
	// to the present revision all the same; none if its Fault is empty.
	Through Strike
	// Visits are when caches are opened, used once and closed again.
	Visits []Visit
}

// Visit is the short life of a cache.
type Visit struct {
	At, Patience time.Duration
	Peer         int
}

// NewPlan draws a plan.
func NewPlan(seed uint64) Plan {
	d := newDraw(seed, 0)
	p := Plan{
		Seed: seed, Members: oneOf(d, 1, 3, 3, 3), Writers: d.between(1, 3),
		Value: oneOf(d, 100, 100, 1_000, 4_000, 20_000), Storm: d.chance(30),
	}
	if d.chance(25) {
		p.TokenTTL = oneOf(d, time.Second, 300*time.Second)
	}
	rounds := d.between(2, 4)
	strangers := oneOf(d, 0, 0, 3, 3, 3) // on a client, at most
	switch d.IntN(10) {
	case 0, 1:
		p.Value = 20_000
		p.Peers = append(p.Peers, drawCrowd(d, d.between(12, 24)))
	case 2, 3:
		p.Value = min(p.Value, 4_000)
		p.Peers = append(p.Peers, drawCrowd(d, d.between(34, 44)))
	}
	for range d.between(1, 3) {
		p.Peers = append(p.Peers, drawPeer(d, rounds, strangers))
	}
	for range rounds {
		p.Rounds = append(p.Rounds, drawFaults(d, p))
	}
	return p
}

// drawCrowd is many caches on one client behind a slow line: what is asked and what is
// answered then overlap for long, and not every watch has a gRPC stream of its own.
func drawCrowd(d draw, n int) PeerPlan {
	p := PeerPlan{Rate: d.between(3, 20) << 20, Delay: d.ms(1, 5)}
	for range n {
		p.Caches = append(p.Caches, CachePlan{Range: oneOf(d, All, All, All, Part, Quiet), Stall: 2 * time.Second, Waiters: 1})
	}
	return p
}

func drawPeer(d draw, rounds, strangers int) PeerPlan {
	p := PeerPlan{Inside: d.chance(30)}
	if d.chance(25) {
		p.Limit = 2_200_000 // a little more than a member divides messages into
	}
	if d.chance(40) {
		p.Rate, p.Delay = d.between(1, 20)<<20, d.ms(0, 10)
	}
	for range d.between(1, 6) {
		p.Streams = append(p.Streams, drawStream(d, rounds))
	}
	for range d.between(1, 4) {
		p.Caches = append(p.Caches, drawCache(d, rounds))
	}
	for range d.between(min(strangers, 1), strangers) {
		p.Foreign = append(p.Foreign, drawForeign(d))
	}
	return p
}

func drawStream(d draw, rounds int) StreamPlan {
	p := StreamPlan{
		Range: drawRange(d, One), Snapshot: d.chance(60), Conflate: d.chance(20),
		Stall: d.ms(1000, 2000), Round: drawRound(d, rounds),
	}
	if d.chance(40) {
		p.Slow, p.Buffer = time.Duration(d.between(50, 1500))*time.Microsecond, oneOf(d, 1, 3_000, 30_000)
	}
	if d.chance(25) {
		p.Leaves = d.between(1, 30)
	}
	return p
}

func drawCache(d draw, rounds int) CachePlan {
	p := CachePlan{
		Range: drawRange(d, Part), Stall: d.ms(1000, 2000),
		Waiters: d.between(0, 2), Changes: d.chance(60), Round: drawRound(d, rounds),
	}
	if d.chance(30) {
		p.Buffer = oneOf(d, 1, 3_000, 30_000)
	}
	if p.Changes && d.chance(40) {
		p.Slow = time.Duration(d.between(50, 1500)) * time.Microsecond
	}
	if d.chance(30) {
		p.Reconcile = d.between(1, 4)
	}
	return p
}

// drawRange draws a range, of which the narrow one is other.
func drawRange(d draw, other Range) Range {
	return oneOf(d, All, All, All, All, Part, Part, Quiet, other)
}

// drawRound draws the round in which somebody comes: half of them are there from the start.
func drawRound(d draw, rounds int) int { return max(d.between(-rounds, rounds-1), 0) }

func drawForeign(d draw) ForeignPlan {
	p := ForeignPlan{
		From: oneOf(d, Now, Past, Past, Future), Leader: d.chance(60), Fragment: d.chance(30),
		PrevKV: d.chance(30), Progress: d.chance(50), Lives: d.ms(20, 2000),
	}
	if d.chance(50) {
		p.Ask = d.ms(1, 50)
	}
	return p
}

func drawFaults(d draw, p Plan) RoundPlan {
	r := RoundPlan{Writes: d.between(60, 160), Pause: d.ms(1, 8)}
	if p.Value > 10_000 || len(p.Peers[0].Caches) > 10 { // else it would take minutes over a slow line
		r.Writes = d.between(10, 40) / p.Writers
	}
	switch d.IntN(10) {
	case 0, 1:
		if p.Members > 1 {
			r.Through = Strike{Fault: oneOf(d, Vanish, Vanish, Isolate, Kill), Member: d.IntN(p.Members)}
			r.Strikes = []Strike{{Fault: oneOf(d, Compact, Defrag, Move), At: d.ms(0, 500), Member: d.IntN(p.Members), Amount: d.between(0, 5)}}
			break
		}
		fallthrough
	case 2, 3, 4:
		r.Strikes = overtaken(d, p)
	case 5, 6:
		r.Strikes = []Strike{drawStrike(d, p)}
	default:
		for range d.between(2, 4) {
			r.Strikes = append(r.Strikes, drawStrike(d, p))
		}
	}
	for range d.between(0, 3) {
		r.Visits = append(r.Visits, Visit{At: d.ms(0, 800), Patience: oneOf(d, 0, 0, d.ms(1, 300)), Peer: d.IntN(len(p.Peers))})
	}
	return r
}
