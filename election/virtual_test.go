package election_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/vtime"
)

// serverTick is how often etcd looks for expired leases.
const serverTick = 500 * time.Millisecond

// cutWays are the ways in which a client can be cut off.
var cutWays = []struct {
	name string
	cut  func(*vtime.Cut)
}{
	{"off", (*vtime.Cut).Cut},
	{"to the server", (*vtime.Cut).CutToServer},
	{"to the client", (*vtime.Cut).CutToClient},
	{"off, held", (*vtime.Cut).Hold},
	{"to the server, held", (*vtime.Cut).HoldToServer},
	{"to the client, held", (*vtime.Cut).HoldToClient},
}

// partition is one way in which a leader is cut off, for longer than its lease lasts,
// drawn from a seed.
type partition struct {
	seed   uint64
	ttl    time.Duration
	way    string
	cut    func(*vtime.Cut)
	phase  time.Duration // of the leader's start, relative to the server's tick
	age    time.Duration // of the term when the rival comes
	queued time.Duration // for which the rival has waited when the cut comes
	lasts  time.Duration
	drag   time.Duration // the most that one of the leader's messages takes
}

func (p partition) String() string {
	return fmt.Sprintf("seed %d: TTL %v, cut %s for %v after %v and %v, messages take up to %v", p.seed, p.ttl, p.way, p.lasts, p.age, p.queued, p.drag)
}

func drawPartition(seed uint64) partition {
	draw := rand.New(rand.NewPCG(seed, 2))
	upTo := func(d time.Duration) time.Duration { return time.Duration(draw.Int64N(int64(d))) }
	ttls := []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}
	ttl, way := ttls[seed%uint64(len(ttls))], cutWays[seed%uint64(len(cutWays))]
	return partition{
		seed: seed, ttl: ttl, way: way.name, cut: way.cut,
		phase: upTo(serverTick), age: upTo(2 * ttl), queued: upTo(2 * ttl), lasts: ttl + upTo(2*ttl), drag: upTo(ttl / 25),
	}
}

// succession is what became of the leadership in a partition.
type succession struct {
	cut     time.Time
	ended   time.Time // the leader was told
	elected time.Time // the rival was
	overlap bool      // the rival was elected before the leader was told
}

// run cuts off a leader whom a rival waits to succeed. Both use Run.
func (p partition) run(t *testing.T) (s succession) {
	t.Helper()
	vtime.Run(t, func(t *testing.T, server *vtime.Server) {
		vtime.Sleep(p.phase)
		client, cut := server.CutClient(vtime.WithDrag(vtime.NewDrag(p.seed, p.drag)))
		leader := runVirtually(t, newVirtualElection(t, client, p.ttl), "a")
		term := <-leader.terms
		vtime.Sleep(p.age)
		rival := runVirtually(t, newVirtualElection(t, server.Client(vtime.WithDrag(vtime.NewDrag(p.seed+1, p.drag))), p.ttl), "b")
		vtime.Sleep(10*mostDrag + p.queued)
		require.Empty(t, rival.terms)
		require.Empty(t, leader.ended)

		told := make(chan time.Time, 1)
		context.AfterFunc(term.Context(), func() { told <- time.Now() })
		s.cut = time.Now()
		p.cut(cut)
		time.AfterFunc(p.lasts, cut.Heal)
		next := <-rival.terms
		s.elected = time.Now()
		s.overlap = term.Context().Err() == nil || !next.Deadline().After(s.elected) || term.Deadline().After(s.elected)
		s.ended = <-told
		require.Greater(t, next.Token(), term.Token(), p)
		require.ErrorIs(t, <-leader.ended, election.ErrLost)

		// Once healed, the former leader stands for election again.
		vtime.Sleep(p.lasts + 2*p.ttl)
		requireCandidates(t, server, "b", "a")
		rival.cancel(nil)
		require.ErrorIs(t, <-rival.result, context.Canceled)
		<-leader.terms
		leader.cancel(nil)
		require.ErrorIs(t, <-leader.result, context.Canceled)
	})
	return s
}

func TestALeaderIsToldBeforeTheNextIsElectedInManyPartitions(t *testing.T) {
	t.Parallel()
	var gaps, waits []time.Duration // from the leader's end, and from cut + TTL, to the election
	for seed := range uint64(partitions) {
		p := drawPartition(seed)
		s := p.run(t)
		require.False(t, s.overlap, "%v: elected while the other led", p)
		require.False(t, s.ended.After(s.elected), "%v: ended at %v, elected at %v", p, s.ended, s.elected)
		require.LessOrEqual(t, s.elected.Sub(s.cut), p.ttl+time.Second, "%v: guarantee L", p)
		gaps = append(gaps, s.elected.Sub(s.ended))
		waits = append(waits, s.elected.Sub(s.cut)-p.ttl)
	}
	slices.Sort(gaps)
	slices.Sort(waits)
	t.Logf("0 of %d partitions with two leaders; from the leader's end to the next election %v to %v, median %v; "+
		"elections at cut + TTL %+v to %+v, median %+v", partitions, gaps[0], gaps[partitions-1], gaps[partitions/2],
		waits[0], waits[partitions-1], waits[partitions/2])
}

// A crash is a client that is closed without a word to the server.
func TestACrashedLeaderIsSucceededWithinItsTTLAndASecond(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		p := drawPartition(seed)
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			client, cut := s.CutClient(vtime.WithDrag(vtime.NewDrag(seed, p.drag)))
			leader := runVirtually(t, newVirtualElection(t, client, p.ttl), "a")
			term := <-leader.terms
			rival := runVirtually(t, newVirtualElection(t, s.Client(vtime.WithDrag(vtime.NewDrag(seed+1, p.drag))), p.ttl), "b")
			vtime.Sleep(p.age + p.queued + 10*mostDrag)
			cut.Reset()
			cut.Cut() // connections break, and nothing comes after
			crashed := time.Now()
			<-rival.terms
			require.LessOrEqual(t, time.Since(crashed), p.ttl+time.Second, p)
			require.Error(t, term.Err())
			rival.cancel(nil)
			require.ErrorIs(t, <-rival.result, context.Canceled)
			leader.cancel(nil)
			require.ErrorIs(t, <-leader.result, context.Canceled)
		})
	}
}
