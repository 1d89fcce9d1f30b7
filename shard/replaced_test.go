package shard_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/shard"
)

// pair has a and b join, of whom one plans.
func (f *fleet) pair(planner string) map[string]*peer {
	f.t.Helper()
	peers := map[string]*peer{planner: f.join(planner)}
	f.settled()
	for _, name := range []string{"a", "b"} {
		if name != planner {
			peers[name] = f.join(name)
		}
	}
	return peers
}

func TestAProcessThatAnotherHasReplacedFollowsNoPlanAndSaysSo(t *testing.T) {
	t.Parallel()
	for _, planner := range []string{"a", "b"} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			f := newFleet(t, s, 6)
			peers := f.pair(planner)
			before := f.settled()
			old := peers["b"]
			old.cut.Cut()
			next := f.join("b")
			old.cut.Heal()
			vtime.Advance(ttl)
			require.Equal(t, before, f.settled())
			require.ErrorIs(t, old.Err(), shard.ErrReplaced)
			require.ErrorIs(t, old.Ready(t.Context()), shard.ErrReplaced)
			require.Empty(t, old.Owned())
			require.Len(t, next.Owned(), 3)
			for id := range shard.ID(6) {
				require.Len(t, entries(t, s.Client(), id), 1, "it asks for nothing")
			}
			resp, err := s.Client().Get(t.Context(), group+"/~election/", clientv3.WithPrefix())
			require.NoError(t, err)
			require.Len(t, resp.Kvs, 2, "nor does it stand for planner")

			next.stop()
			require.Equal(t, map[string]int{"a": 6}, counts(f.settled()))
			require.Len(t, f.plan().Members, 1, "it does not come back")
			stopAll(peers["a"], old)
		})
	}
}

// It has owned nothing yet, and so nothing tells it but the plan.
func TestAProcessThatIsReplacedBeforeAnyPlanHasNamedItSaysSo(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 6)
		a := f.join("a")
		f.settled()
		old := f.join("b")
		old.cut.Cut()
		next := f.join("b")
		old.cut.Heal()
		vtime.Advance(ttl)
		require.Equal(t, map[string]int{"a": 3, "b": 3}, counts(f.settled()))
		require.ErrorIs(t, old.Err(), shard.ErrReplaced)
		require.Len(t, next.Owned(), 3)
		stopAll(a, next, old)
	})
}

// A store that is restored from a backup has the key of a process that had the name before,
// under a lease that nobody renews any more.
func TestAKeyThatABackupBringsBackDoesNotReplaceALiveMember(t *testing.T) {
	t.Parallel()
	for _, planner := range []string{"a", "b"} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			f := newFleet(t, s, 6)
			peers := f.pair(planner)
			f.settled()
			b := peers["b"]
			old, err := s.Client().Grant(t.Context(), int64(ttl/time.Second))
			require.NoError(t, err)
			_, err = s.Client().Put(t.Context(), group+"/member/b", `{"nonce":"of a process that was","weight":1}`, clientv3.WithLease(old.ID))
			require.NoError(t, err)
			vtime.Advance(ttl / 2)
			require.Error(t, b.Err(), "its key is another's")
			require.NotErrorIs(t, b.Err(), shard.ErrReplaced)
			vtime.Advance(ttl)
			require.Equal(t, map[string]int{"a": 3, "b": 3}, counts(f.settled()), planner)
			require.NoError(t, b.Err())
			require.Len(t, b.Owned(), 3)
			require.NoError(t, b.Ready(t.Context()))
			stopAll(peers["a"], b)
		})
	}
}

func TestNothingMovesIfACrashedProcessIsBackWithinTheTTL(t *testing.T) {
	t.Parallel()
	for _, late := range []time.Duration{0, 3 * time.Second, 3*time.Second + 150*time.Millisecond} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			f := newFleet(t, s, 20)
			a, b := f.join("a"), f.join("b")
			before, grants := f.settled(), f.ledger.granted()
			b.cut.Cut()
			vtime.Advance(late)
			again := f.join("b")
			require.NoError(t, again.Ready(t.Context()))
			require.Len(t, again.Owned(), 10)
			require.Equal(t, before, f.settled())
			require.Equal(t, 10, f.ledger.granted()-grants, "a has got none in the meantime")
			resp, err := s.Client().Get(t.Context(), group+"/heir/", clientv3.WithPrefix())
			require.NoError(t, err)
			require.Empty(t, resp.Kvs)
			stopAll(a, again)
		})
	}
}

// The process that waited for the name dies as well.
func TestShardsAreNotKeptForLongForWhoOnlyWaitsForAName(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 20)
		a, b := f.join("a"), f.join("b")
		f.settled()
		b.cut.Cut()
		vtime.Advance(ttl / 2)
		heir := f.process()
		joined := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			_, err := shard.Join(ctx, heir.session, group, "b", f.serve("b"))
			joined <- err
		}()
		vtime.Advance(time.Second)
		heir.cut.Cut()
		vtime.Sleep(ttl/2 + 2*time.Second)
		require.Equal(t, map[string]int{"a": 20}, counts(f.ledger.owners(20)))
		cancel()
		require.ErrorIs(t, <-joined, context.Canceled)
		stopAll(a)
	})
}

func TestNothingIsKeptForAPlannerThatHasLeftInOrder(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 60)
		grace, moves := shard.WithReturnGrace(time.Hour), shard.WithMoves(1)
		a := f.join("a", grace, moves)
		f.settled()
		b := f.join("b", grace, moves)
		require.Eventually(t, func() bool { return len(b.Owned()) == 30 }, time.Hour, time.Second)
		require.Equal(t, "a", f.plan().Planner)
		require.NoError(t, a.Close(done(t)))
		require.NoError(t, a.session.Close(t.Context()))
		require.NotContains(t, f.settled(), "")
		require.Len(t, b.Owned(), 60)

		again := f.join("a", grace, moves)
		require.Eventually(t, func() bool { return len(again.Owned()) == 30 }, time.Hour, time.Second)
		again.cut.Cut() // that it once left in order does not count any more
		vtime.Advance(time.Minute)
		require.Equal(t, map[string]int{"b": 30, "": 30}, counts(f.ledger.owners(60)))
		b.stop()
	})
}

func TestAMemberTooManyIsRefused(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 4)
		for i := 0; i < shard.MaxMembers; i += 100 {
			var ops []clientv3.Op
			for n := i; n < i+100; n++ {
				ops = append(ops, clientv3.OpPut(memberKey(n), `{"nonce":"x","weight":1}`))
			}
			_, err := s.Client().Txn(t.Context()).Then(ops...).Commit()
			require.NoError(t, err)
		}
		p := f.process()
		_, err := shard.Join(t.Context(), p.session, group, "a", f.serve("a"))
		require.ErrorIs(t, err, shard.ErrFull)
		require.ErrorContains(t, err, "group has 1000 members already")
		resp, err := s.Client().Get(t.Context(), group+"/member/a")
		require.NoError(t, err)
		require.Empty(t, resp.Kvs)

		_, err = s.Client().Delete(t.Context(), memberKey(0))
		require.NoError(t, err)
		_, err = s.Client().Put(t.Context(), memberKey(0)+"/shards", "of another group")
		require.NoError(t, err)
		p.Member, err = shard.Join(t.Context(), p.session, group, "a", f.serve("a"))
		require.NoError(t, err, "it is the thousandth")
		_, err = shard.Join(t.Context(), f.process().session, group, "b", f.serve("b"))
		require.ErrorIs(t, err, shard.ErrFull)
		p.stop()
	})
}
