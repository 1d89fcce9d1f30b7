package shard_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/shard"
)

func TestARouterKnowsWhoOwnsWhatAndWhoIsTo(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 6)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := s.Client().Put(ctx, group+"/below/shards", "of another group")
		require.NoError(t, err)
		early := make(chan *shard.Router)
		go func() {
			r, err := shard.NewRouter(ctx, s.Client(), group)
			require.NoError(t, err)
			early <- r
		}()
		vtime.Advance(time.Second)
		a := f.join("a", shard.WithValue("host-a:80"))
		r := <-early
		require.Equal(t, 6, r.Shards())
		f.settled()
		route, ok := r.Owner(4)
		require.True(t, ok)
		require.Equal(t, f.ledger.last[4].Token(), route.Token)
		require.Equal(t, []string{"a", "host-a:80", "a"}, []string{route.Member, route.Value, route.Planned})
		require.Equal(t, shard.Of("tenant-42", 6), r.Of("tenant-42"))
		_, ok = r.Owner(6)
		require.False(t, ok, "there is no such shard")

		b := f.join("b", shard.WithValue("host-b:80"))
		owners := f.settled()
		for id, owner := range owners {
			route, ok := r.Owner(shard.ID(id))
			require.True(t, ok)
			require.Equal(t, []string{owner, "host-" + owner + ":80", owner}, []string{route.Member, route.Value, route.Planned})
			require.Equal(t, f.ledger.last[shard.ID(id)].Token(), route.Token)
		}
		require.Equal(t, map[string]string{"a": "host-a:80", "b": "host-b:80"}, r.Members())
		stopAll(a, b)
		vtime.Advance(time.Second)
		route, ok = r.Owner(0)
		require.False(t, ok)
		require.Empty(t, route.Member)
		require.NoError(t, r.Err())
		require.NoError(t, r.Close(ctx))
		require.ErrorIs(t, r.Err(), shard.ErrClosed)
	})
}

func TestARouterTellsOfChanges(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 4)
		a := f.join("a")
		f.settled()
		r, err := shard.NewRouter(t.Context(), s.Client(), group)
		require.NoError(t, err)
		got := make(map[shard.ID][]shard.Change)
		var last error
		done := make(chan struct{})
		go func() {
			defer close(done)
			for c, err := range r.Changes(t.Context()) {
				if last = err; err == nil {
					got[c.Shard] = append(got[c.Shard], c)
				}
			}
		}()
		vtime.Advance(time.Second)
		b := f.join("b")
		owners := f.settled()
		for id := range shard.ID(4) {
			all := got[id]
			require.True(t, all[0].Initial)
			require.Equal(t, "a", all[0].Route.Member)
			newest := all[len(all)-1]
			require.Equal(t, []string{owners[id], owners[id]}, []string{newest.Route.Member, newest.Route.Planned})
			if owners[id] == "a" {
				require.Len(t, all, 1, "nothing has changed")
			} else {
				require.Equal(t, "a", all[1].Route.Member, "first the plan changes")
				require.Equal(t, "b", all[1].Route.Planned)
				require.False(t, newest.Initial)
			}
		}
		require.NoError(t, r.Close(t.Context()))
		<-done
		require.ErrorIs(t, last, shard.ErrClosed)
		stopAll(a, b)
	})
}

func TestARouterWaitsForAGroupNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := shard.NewRouter(ctx, s.Client(), group)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, `waiting for group "jobs"`)
	})
}

func TestAnEventCostsARouterNoMoreInALargeGroup(t *testing.T) {
	t.Parallel()
	quickest := func(shards int) time.Duration {
		hear, best := shard.FollowNothing(shards), time.Hour
		for range 20 {
			began := time.Now()
			for id := range shard.ID(50) {
				hear(id)
			}
			best = min(best, time.Since(began))
		}
		return best
	}
	require.Less(t, quickest(shard.MaxShards), 20*quickest(64))
}
