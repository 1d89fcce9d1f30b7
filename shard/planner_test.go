package shard_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/shard"
)

// It arrives before the next planner has written anything: only the term keeps it from taking
// effect.
func TestAPlanThatArrivesAfterItsTermChangesNothing(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"/0", "/head"} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			f := newFleet(t, s, 20)
			a := f.join("a", small())
			f.settled() // it is the planner
			b := f.join("b", small())
			f.settled()
			require.Equal(t, "a", f.plan().Planner)
			var late atomic.Pointer[pb.TxnRequest]
			removeLate := a.onPut(suffix, func(_ context.Context, req any, _ func() error) error {
				late.Store(transaction(req))
				return status.Error(codes.Unavailable, "slow")
			})
			arrived := false
			removeNext := b.onPlan(func(_ context.Context, _ any, invoke func() error) error {
				if !arrived {
					arrived = true
					answer, err := pb.NewKVClient(s.Client().ActiveConnection()).Txn(context.Background(), late.Load())
					if err != nil || answer.Succeeded {
						t.Errorf("%s: it took effect: %v", suffix, err)
					}
				}
				return invoke()
			})
			c := f.join("A", small()) // the first in the plan, so that no piece is as it was
			vtime.Advance(300 * time.Millisecond)
			require.NotNil(t, late.Load())
			lease, err := a.session.Lease(t.Context())
			require.NoError(t, err)
			f.ledger.overrule()
			_, err = s.Client().Revoke(t.Context(), lease.ID())
			require.NoError(t, err)
			vtime.Advance(20 * time.Second)
			require.True(t, arrived)
			removeLate()
			removeNext()
			require.NotContains(t, f.settled(), "", suffix)
			require.NoError(t, f.plan().PlanError)
			stopAll(a, b, c)
		})
	}
}

func TestWhatHappensAtOneTimeIsOneRoundOfPlanning(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 20)
		var rounds atomic.Int64
		a := f.join("a", shard.WithObserver(shard.Observer{Planned: func(shard.PlanEvent) { rounds.Add(1) }}))
		f.settled()
		before := rounds.Load()
		for id := range shard.ID(20) {
			require.NoError(t, shard.Move(t.Context(), s.Client(), group, id, "a")) // where it is
			vtime.Advance(time.Millisecond)
		}
		vtime.Advance(time.Second)
		made := rounds.Load() - before
		require.Positive(t, made)
		require.LessOrEqual(t, made, int64(2), "what comes while the first waits may have another")
		a.stop()
	})
}
