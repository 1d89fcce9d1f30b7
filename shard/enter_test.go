package shard_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/shard"
)

// revoke has the server end the lease of a process.
func (p *peer) revoke() {
	p.f.t.Helper()
	l, err := p.session.Lease(p.f.t.Context())
	require.NoError(p.f.t, err)
	_, err = p.f.server.Client().Revoke(p.f.t.Context(), l.ID())
	require.NoError(p.f.t, err)
}

// joinsA has a process join as "a" in the background, for a minute.
func (p *peer) joinsA() <-chan error {
	joined := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(p.f.t.Context(), time.Minute)
		defer cancel()
		var err error
		p.Member, err = shard.Join(ctx, p.session, group, "a", p.f.serve("a"), shard.WithShards(p.f.shards))
		joined <- err
	}()
	return joined
}

func TestJoinGoesOnWithAnotherLeaseIfItsOwnIsRevoked(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 4)
		p := f.process()
		p.revoke()
		began := time.Now()
		require.NoError(t, <-p.joinsA())
		require.LessOrEqual(t, time.Since(began), ttl/2, "as soon as the session has heard of it")
		require.NoError(t, p.Ready(t.Context()))
		require.Len(t, f.plan().Members, 1)
		p.stop()
	})
}

// The put has had no answer, and the lease that it was under has ended for the session, but not
// for etcd, which has begun its TTL anew.
func TestJoinTakesOverWhatItHasPutUnderALeaseThatHasEnded(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 4)
		p := f.process()
		var lost atomic.Bool
		p.onPut("/member/a", func(_ context.Context, _ any, invoke func() error) error {
			err := invoke()
			if err != nil || lost.Swap(true) {
				return err
			}
			p.cut.Cut()
			return status.Error(codes.Unavailable, "reply lost")
		})
		joined := p.joinsA()
		vtime.Advance(time.Second)
		require.True(t, lost.Load())
		s.Stop()
		vtime.Advance(ttl + time.Second)
		s.Start()
		resp, err := s.Client().Get(t.Context(), group+"/member/a")
		require.NoError(t, err)
		require.Len(t, resp.Kvs, 1, "etcd still has it")
		p.cut.Heal()
		require.NoError(t, <-joined)
		require.NoError(t, p.Ready(t.Context()))
		vtime.Advance(2 * ttl)
		require.NoError(t, p.Err())
		require.Len(t, p.Owned(), 4)
		require.Len(t, f.plan().Members, 1)
		p.stop()
	})
}

func TestWhoWaitsForANameIsKnownAfterItsLeaseWasRevoked(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 4)
		a := f.join("a")
		f.settled()
		a.cut.Cut()
		heir := f.process()
		joined := heir.joinsA()
		vtime.Advance(time.Second)
		heir.revoke()
		vtime.Advance(ttl/2 + time.Second)
		resp, err := s.Client().Get(t.Context(), group+"/heir/", clientv3.WithPrefix())
		require.NoError(t, err)
		require.Len(t, resp.Kvs, 1)
		require.NoError(t, <-joined)
		vtime.Advance(time.Second)
		resp, err = s.Client().Get(t.Context(), group+"/heir/", clientv3.WithPrefix())
		require.NoError(t, err)
		require.Empty(t, resp.Kvs)
		heir.stop()
		a.cut.Heal()
		stopAll(a)
	})
}
