package shard_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/shard"
)

func TestAShardWhoseFunctionGoesOnAfterTheLossIsAnothersUntilItReturns(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 6)
		stuck := make(chan struct{})
		var mu sync.Mutex
		var ended []shard.Event
		a := f.joinWith("a", func(ctx context.Context, o *shard.Ownership) error {
			f.ledger.begin("a", o)
			select {
			case <-o.Leaving():
			case <-ctx.Done():
				<-stuck // it does not heed the loss
			}
			return nil
		}, shard.WithObserver(shard.Observer{Released: func(e shard.Event) {
			mu.Lock()
			defer mu.Unlock()
			ended = append(ended, e)
		}}))
		b, c := f.join("b"), f.join("c")
		before := f.settled()
		require.Equal(t, map[string]int{"a": 2, "b": 2, "c": 2}, counts(before))
		lost := a.Owned()[0]
		mu.Lock()
		ended = nil
		mu.Unlock()
		f.ledger.overrule()
		_, err := s.Client().Delete(t.Context(), lockOf(lost)+"/", clientv3.WithPrefix())
		require.NoError(t, err)
		vtime.Advance(ttl)
		after := f.settled()
		require.NotContains(t, []string{"a", ""}, after[lost])
		require.Equal(t, 1, moved(before, after), "nothing else moves")
		require.Equal(t, []shard.ID{lost}, f.plan().Members[0].Stuck)
		require.Equal(t, after[lost], f.plan().Shards[lost].Planned)
		require.Empty(t, f.plan().Shards[lost].Pinned, "nobody has moved it by hand")
		mu.Lock()
		told := ended
		mu.Unlock()
		require.Len(t, told, 1)
		require.Equal(t, lost, told[0].Shard)
		require.ErrorIs(t, told[0].Err, shard.ErrLost)
		require.NoError(t, a.Ready(t.Context()))

		stopAll(b, c) // now there is nobody else
		require.Equal(t, map[string]int{"a": 5, "": 1}, counts(f.settled()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Error(t, a.Ready(ctx))
		close(stuck)
		require.Equal(t, map[string]int{"a": 6}, counts(f.settled()))
		require.Empty(t, f.plan().Members[0].Stuck)
		a.stop()
	})
}

func TestAShardIsNotStuckIfItsFunctionReturnsSoonAfterTheLoss(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 4)
		a := f.joinWith("a", func(ctx context.Context, o *shard.Ownership) error {
			f.ledger.begin("a", o)
			select {
			case <-o.Leaving():
			case <-ctx.Done():
				vtime.Sleep(900 * time.Millisecond)
			}
			return nil
		})
		b := f.join("b")
		before, version := f.settled(), f.plan().Version
		f.ledger.overrule()
		_, err := s.Client().Delete(t.Context(), lockOf(a.Owned()[0])+"/", clientv3.WithPrefix())
		require.NoError(t, err)
		vtime.Advance(ttl)
		require.Equal(t, before, f.settled())
		require.Equal(t, version, f.plan().Version)
		stopAll(a, b)
	})
}

func TestAShardThatIsStuckGoesToWhoHasLeastForItsWeight(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 8)
		stuck := make(chan struct{})
		a := f.joinWith("a", func(ctx context.Context, o *shard.Ownership) error {
			f.ledger.begin("a", o)
			select {
			case <-o.Leaving():
			case <-ctx.Done():
				<-stuck
			}
			return nil
		}, shard.WithWeight(4))
		b, c, d := f.join("b", shard.WithWeight(0)), f.join("c", shard.WithWeight(3)), f.join("d")
		require.Equal(t, map[string]int{"a": 4, "c": 3, "d": 1}, counts(f.settled()))
		require.NoError(t, shard.Cordon(t.Context(), s.Client(), group, "c"))
		f.ledger.overrule()
		for _, id := range a.Owned()[:2] {
			_, err := s.Client().Delete(t.Context(), lockOf(id)+"/", clientv3.WithPrefix())
			require.NoError(t, err)
		}
		vtime.Advance(ttl)
		require.Equal(t, map[string]int{"a": 2, "c": 3, "d": 3}, counts(f.settled()))
		require.Len(t, f.plan().Members[0].Stuck, 2)
		close(stuck)
		require.Equal(t, 3, counts(f.settled())["c"])
		stopAll(a, b, c, d)
	})
}

// A member that leaves has its shards dealt anew each time, and one more that gets stuck
// changes the deal.
func TestAShardThatIsStuckStaysWithWhoServesItMeanwhile(t *testing.T) {
	t.Parallel()
	in := shard.Input{Shards: 6, Members: team("a", "b", "c"), Owners: []string{"b", "c", "b", "c", "b", "c"}}
	in.Members[0].State = shard.Leaving
	for _, stuck := range [][]shard.ID{{1, 2}, {1, 2, 3}, {0, 1, 2, 3}, {2}} {
		r := shard.Round{In: in, Held: in.Owners, Moves: 10, Stuck: make(map[shard.ID][]string)}
		for _, id := range stuck {
			r.Stuck[id] = []string{"a"}
		}
		owners, moves, placed, _, _, err := r.Next(shard.Balanced())
		require.NoError(t, err)
		require.Equal(t, in.Owners, owners, "%v", stuck)
		require.Equal(t, []int{0, 0}, []int{moves, placed})
	}
}
