package shard_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/shard"
)

// The number of shards may change while all members are away. Processes with a router live on.
func TestARouterEndsWhenItsGroupHasAnotherNumberOfShards(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, 12} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				f := newFleet(t, s, 6)
				a := f.join("a")
				f.settled()
				r, err := shard.NewRouter(t.Context(), s.Client(), group)
				require.NoError(t, err)
				a.stop()
				_, err = s.Client().Txn(t.Context()).Then(
					clientv3.OpDelete(group+"/shards"), clientv3.OpDelete(group+"/plan/", clientv3.WithPrefix())).Commit()
				require.NoError(t, err)
				vtime.Advance(time.Second)
				require.NoError(t, r.Err(), "there is no number yet")
				next := newFleet(t, s, n)
				b := next.join("b")
				next.settled()
				var other *shard.ShardsError
				require.ErrorAs(t, r.Err(), &other)
				require.Equal(t, shard.ShardsError{Group: group, Want: 6, Have: n}, *other)
				require.Equal(t, 6, r.Shards())
				b.stop()
				require.NoError(t, r.Close(t.Context()))
			})
		})
	}
}

// A name of a group is a prefix of keys, and not a path that may be shortened.
func TestShardsOfAGroupWithAnyNameAreHandedOver(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		const odd = "a//b/../c"
		f := newFleet(t, s, 6)
		join := func(name string) *peer {
			p := f.process()
			var err error
			p.Member, err = shard.Join(t.Context(), p.session, odd, name, f.serve(name), shard.WithShards(f.shards))
			require.NoError(t, err)
			return p
		}
		a := join("a")
		f.settled()
		b := join("b")
		require.ElementsMatch(t, []string{"a", "a", "a", "b", "b", "b"}, f.settled())
		stopAll(a, b)
	})
}

// An operator deletes the number of shards.
func TestTheNumberOfShardsIsPutAgain(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 6)
		a := f.join("a")
		f.settled()
		_, err := s.Client().Delete(t.Context(), group+"/shards")
		require.NoError(t, err)
		vtime.Advance(time.Second)
		resp, err := s.Client().Get(t.Context(), group+"/shards")
		require.NoError(t, err)
		require.Len(t, resp.Kvs, 1)
		require.Equal(t, "6", string(resp.Kvs[0].Value))
		a.stop()
	})
}

// The last by name leaves, as in a rolling restart, and is back: that it is in a plan from
// before says nothing.
func TestAMemberThatIsBackIsReadyOnceThePlanCountsWithIt(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 6)
		a, b := f.join("a"), f.join("b")
		f.settled()
		b.stop()
		f.settled()
		b = f.join("b")
		require.NoError(t, b.Ready(t.Context()))
		require.NotEmpty(t, b.Owned())
		stopAll(a, b)
	})
}

// Who leaves in order is not waited for, though a member that crashes would be: also when it
// has no time to hand everything over.
func TestNothingIsKeptForAMemberThatHasLeftInOrder(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 60)
		grace, moves := shard.WithReturnGrace(time.Hour), shard.WithMoves(1)
		a, b := f.join("a", grace, moves), f.join("b", grace, moves)
		require.Eventually(t, func() bool { return len(b.Owned()) == 30 }, time.Hour, time.Second)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, b.Close(done))
		require.NoError(t, b.session.Close(t.Context()))
		require.NotContains(t, f.settled(), "")
		require.Len(t, a.Owned(), 60)
		a.stop()
	})
}
