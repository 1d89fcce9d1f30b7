package election_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/internal/vtime"
)

// partition cuts off a leader, in virtual time.
type partition struct{ peertest.Partition }

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
		vtime.Sleep(p.Phase)
		client, cut := server.CutClient(vtime.WithDrag(vtime.NewDrag(p.Seed, p.Drag)))
		leader := runVirtually(t, newVirtualElection(t, client, p.TTL), "a")
		term := <-leader.terms
		vtime.Sleep(p.Age)
		rival := runVirtually(t, newVirtualElection(t, server.Client(vtime.WithDrag(vtime.NewDrag(p.Seed+1, p.Drag))), p.TTL), "b")
		vtime.Sleep(10*mostDrag + p.Queued)
		require.Empty(t, rival.terms)
		require.Empty(t, leader.ended)

		told := make(chan time.Time, 1)
		context.AfterFunc(term.Context(), func() { told <- time.Now() })
		s.cut = time.Now()
		p.Way.Cut(cut)
		time.AfterFunc(p.Lasts, cut.Heal)
		next := <-rival.terms
		s.elected = time.Now()
		s.overlap = term.Context().Err() == nil || !next.Deadline().After(s.elected) || term.Deadline().After(s.elected)
		s.ended = <-told
		require.Greater(t, next.Token(), term.Token(), p)
		require.ErrorIs(t, <-leader.ended, election.ErrLost)

		// Once healed, the former leader stands for election again.
		vtime.Sleep(p.Lasts + 2*p.TTL)
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
		p := partition{peertest.DrawPartition(seed)}
		s := p.run(t)
		require.False(t, s.overlap, "%v: elected while the other led", p)
		require.False(t, s.ended.After(s.elected), "%v: ended at %v, elected at %v", p, s.ended, s.elected)
		require.LessOrEqual(t, s.elected.Sub(s.cut), p.TTL+time.Second, "%v: guarantee L", p)
		gaps = append(gaps, s.elected.Sub(s.ended))
		waits = append(waits, s.elected.Sub(s.cut)-p.TTL)
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
		p := partition{peertest.DrawPartition(seed)}
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			client, cut := s.CutClient(vtime.WithDrag(vtime.NewDrag(seed, p.Drag)))
			leader := runVirtually(t, newVirtualElection(t, client, p.TTL), "a")
			term := <-leader.terms
			rival := runVirtually(t, newVirtualElection(t, s.Client(vtime.WithDrag(vtime.NewDrag(seed+1, p.Drag))), p.TTL), "b")
			vtime.Sleep(p.Age + p.Queued + 10*mostDrag)
			cut.Reset()
			cut.Cut() // connections break, and nothing comes after
			crashed := time.Now()
			<-rival.terms
			require.LessOrEqual(t, time.Since(crashed), p.TTL+time.Second, p)
			require.Error(t, term.Err())
			rival.cancel(nil)
			require.ErrorIs(t, <-rival.result, context.Canceled)
			leader.cancel(nil)
			require.ErrorIs(t, <-leader.result, context.Canceled)
		})
	}
}
