package lease_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

func TestAnAbandonedLeaseIsLeftToItsEndAndCanBeAdopted(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		first, err := lease.NewSession(t.Context(), client, lease.WithTTL(10*time.Second))
		require.NoError(t, err)
		l, err := first.Lease(t.Context())
		require.NoError(t, err)
		_, err = client.Put(t.Context(), "k", "v", clientv3.WithLease(l.ID()))
		require.NoError(t, err)
		require.NoError(t, first.Abandon(t.Context()))
		require.ErrorIs(t, l.Err(), lease.ErrClosed)
		require.ErrorIs(t, context.Cause(l.Context()), lease.ErrClosed)
		_, err = first.Lease(t.Context())
		require.ErrorIs(t, err, lease.ErrClosed)

		vtime.Advance(8 * time.Second)
		began := time.Now()
		second, err := lease.Adopt(t.Context(), client, l.ID(), lease.WithClockDrift(0), lease.WithTTL(77*time.Second))
		require.NoError(t, err)
		adopted, err := second.Lease(t.Context())
		require.NoError(t, err)
		require.Equal(t, l.ID(), adopted.ID())
		require.Equal(t, 10*time.Second, adopted.TTL(), "that of the lease")
		require.Equal(t, began.Add(10*time.Second), adopted.Deadline(), "from the sending of its own renewal")
		vtime.Advance(time.Minute)
		require.NoError(t, adopted.Err())
		require.NotNil(t, value(t, client, "k"))

		require.NoError(t, second.Abandon(t.Context()))
		vtime.Advance(11 * time.Second)
		require.Nil(t, value(t, client, "k"), "expired")
		_, err = lease.Adopt(t.Context(), client, l.ID())
		require.ErrorIs(t, err, lease.ErrLost)
		_, err = lease.Adopt(t.Context(), client, 0)
		require.ErrorContains(t, err, "must be the ID of an existing lease")
	})
}

func value(t *testing.T, client *clientv3.Client, key string) []byte {
	t.Helper()
	resp, err := client.Get(t.Context(), key)
	require.NoError(t, err)
	if len(resp.Kvs) == 0 {
		return nil
	}
	return resp.Kvs[0].Value
}

func TestClosingAnAdoptedLeaseRevokesIt(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client := c.Client(t)
	granted, err := client.Grant(guarded(t), 100)
	require.NoError(t, err)
	s, err := lease.Adopt(guarded(t), client, granted.ID)
	require.NoError(t, err)
	require.NoError(t, s.Close(guarded(t)))
	ttl, err := client.TimeToLive(guarded(t), granted.ID)
	require.NoError(t, err)
	require.EqualValues(t, -1, ttl.TTL)
}

func TestASessionThatDoesNotHealEndsWithItsLease(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		session, err := lease.NewSession(t.Context(), client, lease.WithTTL(10*time.Second), lease.WithoutHealing())
		require.NoError(t, err)
		l, err := session.Lease(t.Context())
		require.NoError(t, err)
		r, err := lease.Register(t.Context(), session, "r", "v")
		require.NoError(t, err)
		_, err = client.Revoke(t.Context(), l.ID())
		require.NoError(t, err)
		<-l.Context().Done()
		_, err = session.Lease(t.Context())
		require.ErrorIs(t, err, lease.ErrLost)
		synctest.Wait()
		require.Equal(t, lease.Closed, session.State())
		require.ErrorIs(t, r.Err(), lease.ErrLost)
		require.ErrorIs(t, r.Update(t.Context(), "w"), lease.ErrLost)
		_, err = lease.Register(t.Context(), session, "other", "v")
		require.ErrorIs(t, err, lease.ErrLost)
		vtime.Advance(time.Minute)
		require.Nil(t, value(t, client, "r"))
		require.NoError(t, session.Close(t.Context()))
	})
}

// Above 300 s a TTL cannot be trusted; the lease has it all the same.
func TestALongLeaseIsRenewedAndTrustedAsTheLongestThatCanBe(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		granted, err := client.Grant(t.Context(), 3600)
		require.NoError(t, err)
		began := time.Now()
		session, err := lease.Adopt(t.Context(), client, granted.ID, lease.WithClockDrift(0))
		require.NoError(t, err)
		l, err := session.Lease(t.Context())
		require.NoError(t, err)
		require.Equal(t, lease.MaxTTL, l.TTL())
		require.Equal(t, began.Add(lease.MaxTTL), l.Deadline())
		vtime.Advance(time.Hour)
		require.NoError(t, l.Err())
		require.Less(t, l.SinceRenewal(), lease.MaxTTL/2)

		cut.Cut()
		vtime.Sleep(lease.MaxTTL)
		require.ErrorIs(t, l.Err(), lease.ErrLost)
		left, err := s.Client().TimeToLive(t.Context(), granted.ID)
		require.NoError(t, err)
		require.Greater(t, left.TTL, int64(3000))
		cut.Heal()
	})
}

// The owner keeps it alive: an adoption that is slow must not be the end of the lease.
func TestASlowAdoptionReturnsALeaseThatLives(t *testing.T) {
	t.Parallel()
	const ttl, slow = 10 * time.Second, 12 * time.Second
	for name, connected := range map[string]bool{"connected": true, "not connected yet": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				owner, err := lease.Grant(t.Context(), s.Client(), lease.WithTTL(ttl))
				require.NoError(t, err)
				client, cut := s.CutClient()
				if connected {
					require.Nil(t, value(t, client, "any"))
				}
				cut.HoldToClient()
				time.AfterFunc(slow, cut.Heal)
				began := time.Now()
				session, err := lease.Adopt(anHour(t), client, owner.ID())
				require.NoError(t, err)
				require.Equal(t, slow, time.Since(began))
				l, err := session.Lease(t.Context())
				require.NoError(t, err)
				require.GreaterOrEqual(t, l.Remaining(), ttl/5)
				vtime.Advance(time.Minute)
				require.NoError(t, l.Err())
				require.NoError(t, session.Abandon(t.Context()))
				require.NoError(t, owner.Close(t.Context()))
			})
		})
	}
}

// The leader before has let the lease expire that the new one has.
func TestALeaseThatADeposedLeaderDoesNotKnowIsAdopted(t *testing.T) {
	t.Parallel()
	var rec etcdtest.Recorder
	client := etcdtest.New(t).Client(t, etcdtest.WithRecorder(&rec))
	onAcknowledgement(&rec, func(n int, resp *pb.LeaseKeepAliveResponse) (bool, error) {
		if n == 1 {
			resp.TTL = 0
			resp.Header.RaftTerm--
		}
		return false, nil
	})
	granted, err := client.Grant(guarded(t), 100)
	require.NoError(t, err)
	s, err := lease.Adopt(guarded(t), client, granted.ID)
	require.NoError(t, err)
	require.NoError(t, s.Close(guarded(t)))
}

// What a leader acknowledges that has been deposed and does not know it yet.
func TestAnAdoptionThatADeposedLeaderAcknowledgedDoesNotCount(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	var answers atomic.Int64
	client := c.Client(t, etcdtest.WithDialOptions(grpc.WithChainStreamInterceptor(func(
		ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption,
	) (grpc.ClientStream, error) {
		stream, err := open(ctx, desc, cc, method, opts...)
		return &outdated{stream, &answers}, err
	})))
	granted, err := client.Grant(guarded(t), 100)
	require.NoError(t, err)
	s, err := lease.Adopt(guarded(t), client, granted.ID)
	require.NoError(t, err)
	require.GreaterOrEqual(t, answers.Load(), int64(2), "asked again")
	require.NoError(t, s.Close(guarded(t)))
}

// outdated makes the first acknowledgement one of the raft term before.
type outdated struct {
	grpc.ClientStream
	answers *atomic.Int64
}

func (o *outdated) RecvMsg(m any) error {
	err := o.ClientStream.RecvMsg(m)
	if acked, ok := m.(*pb.LeaseKeepAliveResponse); ok && err == nil && o.answers.Add(1) == 1 {
		acked.Header.RaftTerm--
	}
	return err
}
